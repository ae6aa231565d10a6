"""Fuzzing what reads files: only our own clear errors may come out, whatever the file holds.

    python tests/fuzz.py TARGET [SECONDS]

TARGET is `bank`, `weights`, `spec` or `parquet`. Needs `pip install atheris`; no part of the test
run. An error is ours if it is a ValueError or FileNotFoundError that names the file. Any other ends
the run, and atheris leaves the input that led to it in a file `crash-…`.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["art_nip"]):
    from art_nip import NIPPreprocessor, zoo
    from art_nip.data import parquet
    from art_nip.zoo import classifiers

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save as packed

FOLDER = Path(tempfile.mkdtemp())
FILE = FOLDER / "fuzzed"


def changed_file(data: bytes, valid: bytes) -> bytes:
    """Return a safetensors file with other bytes, header texts, or arrays than a valid one."""
    fuzz = atheris.FuzzedDataProvider(data)
    if fuzz.ConsumeIntInRange(0, 3) == 0:
        return changed_bytes(fuzz, valid)
    FILE.write_bytes(valid)
    with safe_open(FILE, "numpy") as file:
        header = dict(file.metadata())
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name in list(header):
        header[name] = changed_text(fuzz, header[name])
    for name in list(arrays):
        change = fuzz.ConsumeIntInRange(0, 12)
        if change == 0:
            del arrays[name]
        elif change == 1:
            arrays[name] = arrays[name].reshape(-1)[: fuzz.ConsumeIntInRange(0, 8)]
        elif change == 2:
            arrays[name] = arrays[name].astype(fuzz.PickValueInList(["f8", "i4", "u1", "?"]))
        elif change == 3 and arrays[name].dtype.kind == "f":
            arrays[name] = np.full_like(arrays[name], fuzz.ConsumeFloat())
    return bytes(packed({name: np.ascontiguousarray(a) for name, a in arrays.items()}, header))


def changed_bytes(fuzz: Any, valid: bytes) -> bytes:
    """Return bytes of which a piece is cut out and another put in."""
    start = fuzz.ConsumeIntInRange(0, len(valid))
    end = fuzz.ConsumeIntInRange(start, len(valid))
    return valid[:start] + fuzz.ConsumeBytes(40) + valid[end:]


def changed_text(fuzz: Any, text: str) -> str:
    """Return JSON with one value replaced, or any text with a piece replaced."""
    how = fuzz.ConsumeIntInRange(0, 3)
    if how == 0:
        return text
    if how == 1:
        return changed_bytes(fuzz, text.encode()).decode(errors="replace")
    try:
        value = json.loads(text)
    except ValueError:
        return text
    with contextlib.suppress(RecursionError):
        value = changed_value(fuzz, value)
    return json.dumps(value)


def changed_value(fuzz: Any, value: Any) -> Any:
    """Return a JSON value in which a value somewhere is another, or is missing."""
    if isinstance(value, dict) and value and fuzz.ConsumeIntInRange(0, 9):
        key = fuzz.PickValueInList(sorted(value))
        changed = dict(value)
        if fuzz.ConsumeIntInRange(0, 5) == 0:
            del changed[key]
        else:
            changed[key] = changed_value(fuzz, value[key])
        return changed
    if isinstance(value, list) and value and fuzz.ConsumeIntInRange(0, 9):
        place = fuzz.ConsumeIntInRange(0, len(value) - 1)
        return [*value[:place], changed_value(fuzz, value[place]), *value[place + 1 :]]
    others: list[Any] = [None, True, 0, -1, 3, 10**30, 0.5, "", "nearest", [], [1, 2], {}, [[]]]
    others += [float("nan"), float("inf"), {"name": "class"}, fuzz.ConsumeUnicodeNoSurrogates(6)]
    return fuzz.PickValueInList(others)


def digits_classifier() -> Any:
    """Return a small ART classifier."""
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    return classifiers.as_classifier(model.eval(), "pytorch", (1, 28, 28), 10)


def bank() -> Callable[[bytes], None]:
    """Files of candidates: load one, and defend an image with it."""
    classifier = digits_classifier()
    x = np.random.default_rng(0).random((12, 1, 28, 28), np.float32)
    valid = []
    for retrieval in ("similarity", "nearest"):
        nip = NIPPreprocessor.for_estimator(classifier, retrieval=retrieval, verbose=False)
        nip.fit(x)
        nip.save(FILE)
        valid.append(FILE.read_bytes())

    def run(data: bytes) -> None:
        FILE.write_bytes(changed_file(data, valid[len(data) % 2]))
        loaded = NIPPreprocessor.load(FILE, classifier)
        loaded(x[:2])
        repr(loaded)

    return run


def weights() -> Callable[[bytes], None]:
    """Files of weights: make a classifier of one."""
    classifier = digits_classifier()
    described = next(
        kind
        for name, kind in vars(classifiers).items()
        if isinstance(kind, type) and "image_shape" in getattr(kind, "__annotations__", {})
    )
    classifiers.save(FILE, classifier.model, described("lenet5", (1, 28, 28), 10, 0.0, 1.0))
    valid = FILE.read_bytes()

    def run(data: bytes) -> None:
        FILE.write_bytes(changed_file(data, valid))
        classifiers.load(FILE, "pytorch")

    return run


def spec() -> Callable[[bytes], None]:
    """Spec files: read one whole."""
    with atheris.instrument_imports(include=["art_nip"]):
        from art_nip.benchmark.spec import Spec
    root = Path(__file__).parents[1] / "experiments"
    valid = [path.read_bytes() for path in sorted(root.glob("*.yaml"))]

    def run(data: bytes) -> None:
        fuzz = atheris.FuzzedDataProvider(data)
        text = valid[fuzz.ConsumeIntInRange(0, len(valid) - 1)]
        for _ in range(fuzz.ConsumeIntInRange(0, 3)):
            text = changed_bytes(fuzz, text)
        FILE.write_bytes(text)
        Spec.load(FILE)

    return run


def rows() -> Callable[[bytes], None]:
    """Rows of parquet files: images and labels of every kind."""
    pictures = []
    for mode, kind in (
        ("L", "png"),
        ("RGB", "png"),
        ("RGB", "jpeg"),
        ("P", "png"),
        ("I;16", "png"),
    ):
        stream = io.BytesIO()
        Image.new(mode, (4, 4)).save(stream, kind)
        pictures.append(stream.getvalue())

    def image(fuzz: Any) -> Any:
        picture = fuzz.PickValueInList(pictures)
        kind = fuzz.ConsumeIntInRange(0, 8)
        changed = changed_bytes(fuzz, picture) if kind == 1 else picture
        return None if kind == 0 else {"bytes": None if kind == 2 else changed}

    def run(data: bytes) -> None:
        fuzz = atheris.FuzzedDataProvider(data)
        n = fuzz.ConsumeIntInRange(0, 4)
        kinds = [pa.int64(), pa.int8(), pa.float64(), pa.string(), pa.bool_(), pa.uint64()]
        labels = [fuzz.PickValueInList([0, 1, 2, -1, None, 127]) for _ in range(n)]
        column = pa.array(labels, pa.int64())
        with contextlib.suppress(pa.ArrowInvalid):
            column = column.cast(fuzz.PickValueInList(kinds))
        names = changed_text(fuzz, '{"info": {"features": {"label": {"names": ["a", "b"]}}}}')
        table = pa.table(
            {
                "image": pa.array(
                    [image(fuzz) for _ in range(n)], pa.struct([("bytes", pa.binary())])
                ),
                "label": column,
            }
        ).replace_schema_metadata({"huggingface": names})
        pq.write_table(table, FILE)
        parquet(FILE)

    return run


TARGETS = {"bank": bank, "weights": weights, "spec": spec, "parquet": rows}


def main() -> None:
    """Fuzz one target."""
    target, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "600"
    run = TARGETS[target]()
    warnings.simplefilter("ignore")

    def once(data: bytes) -> None:
        try:
            run(data)
        except (ValueError, FileNotFoundError) as error:
            if str(FILE) not in str(error):
                raise AssertionError(f"this does not name the file: {error!r}") from error

    os.chdir(FOLDER)
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", "-max_len=512", "-rss_limit_mb=8000"], once
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
