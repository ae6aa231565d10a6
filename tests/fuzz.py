"""Fuzzing what reads files: only our own clear errors may come out, whatever the file holds.

    python tests/fuzz.py TARGET [SECONDS]

TARGET is `bank`, `weights`, `spec`, `parquet` or `learned`. Needs `pip install atheris`; no part of
the test run. An error is ours if it is one that the docstring of the reader promises, and names the
file. Each other one is shown once, with the bytes that led to it, and the exit status is then 1.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["art_nip"]):
    from art_nip import NIPPreprocessor, attacks, defences, zoo
    from art_nip.benchmark.spec import Spec
    from art_nip.data import mnist, parquet
    from art_nip.nip.retrieval import ClassEvidence
    from art_nip.nip.retrieval.evidence import EVIDENCES
    from art_nip.nip.retrieval.registry import RETRIEVALS
    from art_nip.zoo import classifiers, training

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from art.defences import preprocessor as art_preprocessors
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save as packed

Fuzz = Any
FOLDER = Path(tempfile.mkdtemp())
FILE = FOLDER / "fuzzed"

JSON_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3, 7, 10**9, 10**30, 0.5, -0.1, 1e-300, 1e308, float("nan"),
    float("inf"), "", "auto", "nearest", "similarity", "class", "logit", "quorum", "uint8", "3",
    "conv9", "classifier.0:input", "features.3", "shallow", "views", "graded views", "estimator",
    "lenet5", "resnet20", "cas", [], [1, 2], [0, 1], ["x"], [[]], [[0.0], [1.0]], {}, {"a": 1},
    {"name": "class"}, {"name": "class", "evidence": "views"}, {"name": "nearest", "layer": 3},
)  # fmt: skip
"""What takes the place of values in metadata and specs."""


def changed_file(fuzz: Fuzz, valid: list[bytes]) -> bytes:
    """Return a safetensors file with other bytes, header texts, or arrays than valid ones."""
    original = fuzz.PickValueInList(valid)
    if fuzz.ConsumeIntInRange(0, 7) == 0:
        return changed_bytes(fuzz, original)
    header, arrays = unpacked(original)
    for _ in range(fuzz.ConsumeIntInRange(0, 2)):
        name = fuzz.PickValueInList(sorted(header))
        header[name] = changed_text(fuzz, header[name])
    for _ in range(fuzz.ConsumeIntInRange(0, 2)):
        if not arrays:
            break
        name = fuzz.PickValueInList(sorted(arrays))
        array = arrays.pop(name)
        change = fuzz.ConsumeIntInRange(0, 9)
        if change == 1:  # under another name
            arrays[fuzz.PickValueInList([*sorted(arrays), "retrieval.weights.7", "a"])] = array
        elif change == 2:  # that of another file
            others = unpacked(fuzz.PickValueInList(valid))[1]
            arrays[name] = others[fuzz.PickValueInList(sorted(others))]
        elif change > 2:
            arrays[name] = changed_array(fuzz, array)
    return bytes(packed({name: np.ascontiguousarray(a) for name, a in arrays.items()}, header))


def unpacked(content: bytes) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the header and the arrays of a safetensors file."""
    FILE.write_bytes(content)
    with safe_open(FILE, "numpy") as file:
        return dict(file.metadata()), {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118


def changed_array(fuzz: Fuzz, array: Any) -> Any:
    """Return an array of another shape, dtype or with other values."""
    change = fuzz.ConsumeIntInRange(0, 6)
    if change == 0:
        return array.reshape(-1)[: fuzz.ConsumeIntInRange(0, 8)]
    if change == 1:
        return array.reshape(fuzz.PickValueInList([(-1,), (1, *array.shape), (*array.shape, 1)]))
    if change == 2:
        return array.T
    if change == 3:
        return array[: fuzz.ConsumeIntInRange(0, len(array))] if array.ndim else array
    if change == 4:
        kinds = ["f8", "f4", "f2", "i8", "i4", "i2", "u8", "u1", "?", "c8"]
        return array.astype(fuzz.PickValueInList(kinds))
    values = [float("nan"), float("inf"), -float("inf"), 3e38, -3e38, 65504.0, 1e-40, 0.0, -1.0]
    value = np.array(fuzz.PickValueInList(values)).astype(array.dtype)
    changed = np.array(array)
    if change == 5:
        changed[...] = value
    elif array.size:
        changed.reshape(-1)[fuzz.ConsumeIntInRange(0, array.size - 1)] = value
    return changed


def changed_bytes(fuzz: Fuzz, valid: bytes) -> bytes:
    """Return bytes of which a piece, often a small one, is cut out and another put in."""
    start = fuzz.ConsumeIntInRange(0, len(valid))
    most = len(valid) if fuzz.ConsumeIntInRange(0, 3) == 0 else min(len(valid), start + 8)
    end = fuzz.ConsumeIntInRange(start, most)
    return valid[:start] + fuzz.ConsumeBytes(fuzz.ConsumeIntInRange(0, 40)) + valid[end:]


def changed_text(fuzz: Fuzz, text: str) -> str:
    """Return JSON with values replaced, or any text with a piece replaced."""
    if fuzz.ConsumeIntInRange(0, 4) == 0:
        return changed_bytes(fuzz, text.encode()).decode(errors="replace")
    try:
        value = json.loads(text)
    except ValueError:
        return text + fuzz.ConsumeUnicodeNoSurrogates(3)
    for _ in range(fuzz.ConsumeIntInRange(1, 3)):
        value = changed_value(fuzz, value)
    return json.dumps(value)


def changed_value(fuzz: Fuzz, value: Any, others: tuple[Any, ...] = JSON_VALUES) -> Any:
    """Return a JSON value in which a value somewhere is another, is missing, or is added."""
    if isinstance(value, dict) and value and fuzz.ConsumeIntInRange(0, 9):
        key = fuzz.PickValueInList(sorted(value))
        changed = dict(value)
        how = fuzz.ConsumeIntInRange(0, 9)
        if how == 0:
            del changed[key]
        elif how == 1:
            changed[fuzz.ConsumeUnicodeNoSurrogates(4)] = changed[key]
        else:
            changed[key] = changed_value(fuzz, value[key], others)
        return changed
    if isinstance(value, list) and value and fuzz.ConsumeIntInRange(0, 9):
        place = fuzz.ConsumeIntInRange(0, len(value) - 1)
        return [
            *value[:place], changed_value(fuzz, value[place], others),
            *value[place + fuzz.ConsumeIntInRange(0, 1) :],
        ]  # fmt: skip
    if fuzz.ConsumeIntInRange(0, 9) == 0:
        return fuzz.ConsumeUnicodeNoSurrogates(6)
    return fuzz.PickValueInList(list(others))


def digits_classifier() -> Any:
    """Return a small ART classifier that knows digits."""
    training.seed_weights("pytorch", 0)
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    x, y = (array[:1000] for array in mnist())
    training.train(model, x, y, training.Recipe(1, 64, bfloat16=False), verbose=False)
    return classifiers.as_classifier(model.eval(), "pytorch", (1, 28, 28), 10)


def bank() -> Callable[[bytes], None]:
    """Files of candidates of every retrieval: load one, and defend images with it."""
    classifier = digits_classifier()
    x = mnist()[0][1000:1100]
    evidences = [kind() for name, kind in EVIDENCES.items() if name != "estimator"]
    retrievals = [name for name in RETRIEVALS if name != "class"]
    retrievals += [ClassEvidence(evidence=evidence) for evidence in evidences]
    valid = []
    for place, retrieval in enumerate(retrievals):
        nip = NIPPreprocessor.for_estimator(
            classifier, retrieval=retrieval, verbose=False,
            bank_dtype=("float32", "float16", "uint8")[place % 3],
        )  # fmt: skip
        nip.fit(x)
        nip.save(FILE)
        valid.append(FILE.read_bytes())

    def run(data: bytes) -> None:
        FILE.write_bytes(changed_file(atheris.FuzzedDataProvider(data), valid))
        loaded = NIPPreprocessor.load(FILE, classifier)
        assert np.isfinite(loaded(x[:2])[0]).all()
        loaded.forward(torch.from_numpy(x[:2]))
        loaded.similarity(x[:2])
        loaded.retrieve(x[:2])
        repr(loaded)
        loaded.save(FILE)

    return run


def weights() -> Callable[[bytes], None]:
    """Files of weights: make a classifier of one, and predict."""
    valid = []
    for defence in (None, *zoo.TRAINED_DEFENCES):
        trained = classifiers.TrainedModel("lenet5", (1, 28, 28), 10, 0.1, 0.9, "", defence)
        classifiers.save(FILE, trained.create("pytorch"), trained)
        valid.append(FILE.read_bytes())

    def run(data: bytes) -> None:
        FILE.write_bytes(changed_file(atheris.FuzzedDataProvider(data), valid))
        classifier = classifiers.load(FILE, "pytorch")
        if np.prod(classifier.input_shape) < 10**5:
            x = np.zeros((1, *classifier.input_shape), np.float32)
            assert classifier.predict(x).shape == (1, classifier.nb_classes)

    return run


YAML_PIECES = (
    "&a ", "*a", "&a [*a]", "{<<: *a}", "<<: ", "!!python/name:os.system ", "!!binary x",
    "!!timestamp 2001-01-01", "2001-01-01", "2001-99-99", "!!set {a}", "!!omap [a: 1]", "!!float x",
    "!!int x", "!!int 1:2", "!!bool x", "!!null x", "!!str ", "!octal x", "!fraction x",
    "!fraction 1/0", "!x ", "0x10", "0o7", "1:30", "1:30.5", "1e999", "1e-3", "1" * 5000, "-", ".",
    "9" * 400 + "/1", "1/" + "9" * 400, "1/3", "5/0", ".inf", ".nan", "yes", "off", "~", "? ", ": ",
    "\t", "\0", "---\n", "...", "%YAML 9.9\n---\n", "|\n", ">\n", "'", '"', "[" * 2000, "{" * 2000,
    "{a: " * 2000, "#", "@", "`", "\ufeff", "\u2028", "é", "[a, b]: c", "=", "!!value =",
)  # fmt: skip
"""What YAML treats in a way of its own."""


def parameter_names() -> list[str]:
    """Return names of parameters of attacks, defences, and ART's preprocessors."""
    names = {"weights", "label", "name", "eps", "limit"}
    for name in defences.NAMES:
        names.update(defences.get(name).family.params)
    for kind in vars(art_preprocessors).values():
        names.update(getattr(kind, "params", ()))
    for kind in vars(__import__("art.attacks.evasion", fromlist=["x"])).values():
        names.update(getattr(kind, "attack_params", ()))
    return sorted(names)


def spec() -> Callable[[bytes], None]:
    """Spec files: read one whole, of changed values or of changed text."""
    root = Path(__file__).resolve().parents[1] / "experiments"
    valid = [path.read_bytes() for path in sorted(root.glob("*.yaml"))]
    names = parameter_names()
    listed = (*attacks.NAMES, "adaptive", "AutoAttack", *defences.NAMES, "trained", "none")

    def item(fuzz: Fuzz) -> Any:
        name = fuzz.PickValueInList(list(listed))
        if fuzz.ConsumeBool():
            return name
        made = {"name": name}
        for _ in range(fuzz.ConsumeIntInRange(0, 2)):
            made[fuzz.PickValueInList(names)] = changed_value(fuzz, None)
        return made

    def run(data: bytes) -> None:
        fuzz = atheris.FuzzedDataProvider(data)
        content = fuzz.PickValueInList(valid)
        if fuzz.ConsumeIntInRange(0, 3):
            given = yaml.safe_load(content)
            for _ in range(fuzz.ConsumeIntInRange(0, 2)):
                given = changed_value(fuzz, given)
            if isinstance(given, dict):
                for section in ("attacks", "defences"):
                    if fuzz.ConsumeBool():
                        given[section] = [item(fuzz) for _ in range(fuzz.ConsumeIntInRange(1, 2))]
            content = yaml.safe_dump(given, allow_unicode=True).encode()
        for _ in range(fuzz.ConsumeIntInRange(0, 2)):
            place = fuzz.ConsumeIntInRange(0, len(content))
            piece = fuzz.PickValueInList(list(YAML_PIECES)).encode()
            content = content[:place] + piece + content[place:]
        if fuzz.ConsumeIntInRange(0, 3) == 0:
            content = changed_bytes(fuzz, content)
        FILE.write_bytes(content)
        Spec.load(FILE)

    return run


def pictures() -> list[bytes]:
    """Return small images of every kind that a viewer shows."""
    kinds = [
        *((mode, "png") for mode in ("1", "L", "LA", "RGB", "RGBA", "P", "I;16", "I")),
        *((mode, "tiff") for mode in ("L", "RGB", "CMYK", "F", "I", "I;16", "LAB", "YCbCr", "PA")),
        *((mode, kind) for mode in ("L", "RGB") for kind in ("jpeg", "bmp", "ppm", "webp", "gif")),
        ("CMYK", "jpeg"), ("RGBA", "webp"), ("P", "gif"), ("RGBA", "tga"), ("RGB", "ico"),
        ("RGB", "dds"), ("L", "pcx"), ("RGB", "sgi"), ("RGB", "jpeg2000"), ("RGB", "avif"),
    ]  # fmt: skip
    made = []
    for mode, kind in kinds:
        for extras in ({}, {"exif": exif()}, {"save_all": True, "append_images": frames(mode)}):
            stream = io.BytesIO()
            with contextlib.suppress(Exception):  # not every kind can be written so
                Image.new(mode, (4, 6)).save(stream, kind, **extras)
                made.append(stream.getvalue())
    return list(dict.fromkeys(made))


def exif() -> Any:
    """Return EXIF data that turn an image."""
    turned = Image.Exif()
    turned[0x0112] = 6
    return turned


def frames(mode: str) -> list[Any]:
    """Return the second frame of an animation."""
    return [Image.new(mode, (4, 6), 1)]


def rows() -> Callable[[bytes], None]:
    """Parquet files: images and labels of every kind, and other bytes."""
    images = pictures()
    types = [pa.int64(), pa.int8(), pa.float64(), pa.string(), pa.bool_(), pa.uint64(), pa.date32()]
    structs = [
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        pa.struct([("bytes", pa.large_binary())]),
        pa.struct([("path", pa.string())]),
    ]

    def image(fuzz: Fuzz) -> bytes | None:
        picture = fuzz.PickValueInList(images)
        kind = fuzz.ConsumeIntInRange(0, 8)
        return None if kind == 0 else changed_bytes(fuzz, picture) if kind < 5 else picture

    def column(fuzz: Fuzz, n: int) -> Any:
        contents = [image(fuzz) for _ in range(n)]
        how = fuzz.ConsumeIntInRange(0, 11)
        if how == 0:
            return pa.array(contents, pa.binary())
        if how == 1:
            return pa.array([[content] for content in contents], pa.list_(pa.binary()))
        if how == 2:
            return pa.array(range(n), pa.int64())
        if how == 3:
            return pa.array(["a.png"] * n, pa.string())
        kind = structs[how % len(structs)] if how < 7 else structs[0]
        cells = [None if fuzz.ConsumeIntInRange(0, 20) == 0 else c for c in contents]
        fields = {field.name for field in kind}
        values = [
            {"bytes": c, "path": "a.png"} if c is not None or how > 9 else None for c in cells
        ]
        made = [v and {name: v[name] for name in fields} for v in values]
        return pa.array(made, kind)

    def run(data: bytes) -> None:
        fuzz = atheris.FuzzedDataProvider(data)
        n = fuzz.ConsumeIntInRange(0, 3)
        labels = [
            fuzz.PickValueInList([0, 1, 2]) if fuzz.ConsumeIntInRange(0, 9)
            else fuzz.PickValueInList([-1, None, 127, 10**12]) for _ in range(n)
        ]  # fmt: skip
        of_labels = pa.array(labels, pa.int64())
        with contextlib.suppress(pa.ArrowInvalid, pa.ArrowNotImplementedError):
            of_labels = of_labels.cast(fuzz.PickValueInList([pa.int64(), pa.int64(), *types]))
        if fuzz.ConsumeIntInRange(0, 5) == 0:
            of_labels = of_labels.dictionary_encode()
        columns = {"image": column(fuzz, n), "label": of_labels}
        if fuzz.ConsumeIntInRange(0, 9) == 0:
            columns[fuzz.PickValueInList(["image", "label", "x"])] = of_labels
        names = '{"info": {"features": {"label": {"names": ["a", "b"]}}}}'
        if fuzz.ConsumeBool():
            names = changed_text(fuzz, names)
        table = pa.table(columns).replace_schema_metadata({"huggingface": names})
        pq.write_table(table, FILE)
        if fuzz.ConsumeIntInRange(0, 4) == 0:
            FILE.write_bytes(changed_bytes(fuzz, FILE.read_bytes()))
        x, y, found = parquet(FILE)
        assert len(x) == len(y) == n
        assert len(found) > y.max()
        assert np.isfinite(x).all()
        assert x.min() >= 0
        assert x.max() <= 1

    return run


def learned() -> Callable[[bytes], None]:
    """Files of defences that learn: load one, and defend images with it."""
    x = np.random.default_rng(0).random((8, 16, 16, 3), np.float32)
    quick: dict[str, dict[str, Any]] = {
        "SparseTransformation": {
            "n_filters": 4, "filter_size": 4, "n_crops": 8, "iterations": 2, "seed": 0
        },
        "SuperResolution": {"features": 4, "blocks": 1, "steps": 2, "seed": 0},
    }  # fmt: skip
    kinds, valid = [], []
    for name, parameters in quick.items():
        with atheris.instrument_imports(include=["art_nip"]):  # they are imported when asked for
            kind = getattr(defences, name)
        defence = kind(**parameters, clip_values=(0.0, 1.0), verbose=False)
        defence.fit(x)
        defence.save(FILE)
        kinds.append(kind)
        valid.append(FILE.read_bytes())

    def run(data: bytes) -> None:
        fuzz = atheris.FuzzedDataProvider(data)
        place = fuzz.ConsumeIntInRange(0, len(kinds) - 1)
        FILE.write_bytes(changed_file(fuzz, valid[place : place + 1]))
        loaded = kinds[place].load(FILE)
        low, high = (np.asarray(bound, np.float32) for bound in loaded.clip_values or (0, 1))
        if np.ndim(low) == np.ndim(high) == 0:
            loaded((low + (high - low) * x[:1]).astype(np.float32))
        repr(loaded)

    return run


TARGETS = {"bank": bank, "weights": weights, "spec": spec, "parquet": rows, "learned": learned}


def is_ours(error: BaseException, target: str) -> bool:
    """Return whether an error is one that the reader promises, and names the file."""
    promised = isinstance(error, (ValueError, FileNotFoundError))
    damaged = type(error) is OSError and ": the image cannot be read" in str(error)
    return (promised or (target == "parquet" and damaged)) and str(FILE) in str(error)


def main() -> None:
    """Fuzz one target."""
    target, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 600
    run = TARGETS[target]()
    warnings.simplefilter("ignore")
    seen: set[tuple[str, ...]] = set()
    count = {"runs": 0, "read": 0}
    end = time.monotonic() + seconds

    def once(data: bytes) -> None:
        if time.monotonic() > end:
            # atheris ends the process without Python's own way out.
            print(f"\n{target}: {count}, {len(seen)} kinds of errors not ours.", flush=True)
            os._exit(bool(seen))
        count["runs"] += 1
        try:
            run(data)
            count["read"] += 1
        except Exception as error:
            if is_ours(error, target):
                return
            frames = traceback.extract_tb(error.__traceback__)
            place = [frame for frame in frames if "art_nip" in frame.filename] or frames
            kind = (type(error).__name__, place[-1].filename, str(place[-1].lineno))
            if kind not in seen:
                seen.add(kind)
                print(f"\nNOT OURS {len(seen)}: {data!r}", flush=True)
                traceback.print_exc(limit=-12)

    corpus = FOLDER / "corpus"
    corpus.mkdir()
    generator = np.random.default_rng(0)
    for place in range(64):
        (corpus / str(place)).write_bytes(generator.bytes(512))
    os.chdir(FOLDER)
    atheris.Setup(
        [
            sys.argv[0], str(corpus), "-max_len=1024", "-len_control=0", "-rss_limit_mb=8000",
            "-timeout=60", "-keep_seed=1", "-reduce_inputs=0",
        ],
        once,
    )  # fmt: skip
    atheris.Fuzz()


if __name__ == "__main__":
    main()
