"""Puts a small model of each family of torchvision, timm and keras.applications through NIP.

    python experiments/models.py keras                   # in an environment with TensorFlow
    python experiments/models.py torchvision timm        # in that of `make test-tools`

Weights are random, images small. For each model it is checked that

- what the adapter sees the model give is what ART's estimator gives;
- σ and ρ are those of the layer that "auto" chose, by gradients that are taken here without NIP's
  code, and that the whole model goes through this layer: with the values that it has for one image,
  another gets the logits of the first;
- a defended classifier predicts what the classifier makes of NIP's images, and so does
  `as_module`, whose gradient is ART's;
- PGD goes through it, and stays within its budget;
- a NIP that was saved and loaded does the same, and the model is left as it was.

Every model is right, or refused for a reason that is told; anything else is a fault, and the exit
status is 1. What was done is kept in `--out`, a line for each model, and not done again.
"""

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import model_families  # beside this file
import numpy as np
from art.attacks.evasion import ProjectedGradientDescent

from art_nip import NIPPreprocessor, as_module
from art_nip.estimators.base import adapter_for
from art_nip.utils.frameworks import Framework, framework_of

N_FIT, N_TEST, NB_CLASSES, EPS = 6, 3, 10, 8 / 255
TOLERANCE = 2e-3
"""How far two results may differ, as a share of the largest value: they are of float32."""


@dataclass(frozen=True)
class Row:
    """What came of one family.

    :param library: where it is from.
    :param family: its name.
    :param model: the member that was tried.
    :param images: their shape.
    :param layer: the layer that "auto" chose.
    :param n_neurons: how many neurons it has.
    :param result: "right", or what is wrong, or why it was refused.
    :param seconds: how long it took.
    """

    library: str
    family: str
    model: str
    images: str = "–"
    layer: str = "–"
    n_neurons: int = 0
    result: str = "stopped"
    seconds: float = 0.0


def main() -> int:
    """Try what was not tried yet, print the table, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("libraries", nargs="+", choices=model_families.LIBRARIES)
    parser.add_argument("--out", type=Path, default=Path("results/models.jsonl"))
    parser.add_argument("--only", nargs="*", help="families to try again, whatever is known")
    arguments = parser.parse_args()
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    known = read(arguments.out)
    for library in arguments.libraries:
        for family, name in model_families.members(library):
            if arguments.only is None and (library, family) in known:
                continue
            if arguments.only is None or family in arguments.only:
                # If it takes the process down, this row says so.
                write(arguments.out, Row(library, family, name))
                row = tried(library, family, name)
                write(arguments.out, row)
                print(f"{library} {family} {name}: {row.result} ({row.seconds} s)", flush=True)
    rows = [row for row in read(arguments.out).values() if row.library in arguments.libraries]
    print(table(rows))
    return 0 if all(row.result.startswith(("right", "refused")) for row in rows) else 1


def read(path: Path) -> dict[tuple[str, str], Row]:
    """Return the last row of each family."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = [Row(**json.loads(line)) for line in lines]
    return {(row.library, row.family): row for row in rows}


def write(path: Path, row: Row) -> None:
    """Add a row to the file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(row), ensure_ascii=False) + "\n")


def table(rows: list[Row]) -> str:
    """Return rows as a table in Markdown, with a line of sums."""
    right = sum(row.result.startswith("right") for row in rows)
    refused = sum(row.result.startswith("refused") for row in rows)
    lines = [
        f"{len(rows)} families: {right} right, {refused} refused, "
        f"{len(rows) - right - refused} wrong.",
        "",
        "| library | family | model | images | layer | neurons | result |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = (row.library, row.family, row.model, row.images, row.layer, row.n_neurons)
        lines.append("| " + " | ".join(map(str, (*cells, row.result))) + " |")
    return "\n".join(lines)


def tried(library: str, family: str, name: str) -> Row:
    """Put one model through everything."""
    started = time.perf_counter()
    found: dict[str, Any] = {}
    try:
        classifier = model_families.classifier(library, name, NB_CLASSES)
        found["images"] = "×".join(map(str, classifier.input_shape))
        try:
            adapter = adapter_for(classifier, "auto", "probability")
        except (TypeError, ValueError) as error:
            found["result"] = f"refused: {one_line(error)}"
        else:
            found.update(layer=str(adapter.layer), n_neurons=adapter.n_neurons)
            wrong = list(faults(classifier, adapter))
            found["result"] = f"WRONG: {'; '.join(wrong)}" if wrong else "right"
    except model_families.CannotBeMadeError as error:
        found["result"] = f"refused: {one_line(error)}"
    except Exception as error:  # a fault, whatever it is
        found["result"] = f"ERROR: {type(error).__name__}: {one_line(error)}"
    gc.collect()
    return Row(library, family, name, **found, seconds=round(time.perf_counter() - started, 1))


def one_line(error: Exception, most: int = 240) -> str:
    """Return an error's text without line breaks and without what would end a cell."""
    text = " ".join(str(error).split()).replace("|", "/")
    return text if len(text) <= most else f"{text[:most]}…"


def faults(classifier: Any, adapter: Any) -> Iterator[str]:
    """Yield what is wrong."""
    x = model_families.images(classifier.input_shape, N_FIT + N_TEST)
    bank, test = x[:N_FIT], x[N_FIT:]
    before = model_families.traces(classifier)
    logits = classifier.predict(x)
    if not close(adapter.numpy(adapter.outputs(adapter.tensor(x))), logits):
        yield "the adapter's outputs are not the estimator's"
    if np.ptp(logits, axis=0).max() == 0:
        yield "nothing hangs on the images, so that nothing is shown"
    yield from faults_of_layer(classifier, adapter, test)
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(bank, logits[:N_FIT].argmax(axis=1))
    changed, _ = nip(test)
    if not (np.isfinite(changed).all() and changed.min() >= 0 and changed.max() <= 1):
        yield "NIP's images leave the clip range"
    defended = nip.attach(classifier)
    expected = classifier.predict(changed)
    if not close(defended.predict(test), expected):
        yield "the defended classifier predicts something else"
    yield from faults_of_attacks(defended, test, expected)
    with tempfile.TemporaryDirectory() as folder:
        nip.save(Path(folder) / "nip.safetensors")
        again = NIPPreprocessor.load(Path(folder) / "nip.safetensors", classifier)
    if not np.array_equal(again(test)[0], changed):
        yield "saved and loaded it does something else"
    if not close(classifier.predict(x), logits) or model_families.traces(classifier) != before:
        yield "the model is not left as it was"


def faults_of_layer(classifier: Any, adapter: Any, x: np.ndarray) -> Iterator[str]:
    """Yield what is wrong with the layer's influence and inverse perturbation."""
    weights = np.random.default_rng(0).normal(size=(len(x), adapter.n_neurons)).astype(np.float32)
    seen = model_families.seen(classifier, adapter.layer, x, weights)
    observed = adapter.observer(lambda influence: adapter.tensor(weights))(adapter.tensor(x))
    _, influence, perturbation = map(adapter.numpy, observed)
    if not np.abs(seen.gradient).max() > 0:
        yield "no gradient of the layer reaches the images"
    if not close(influence, seen.influence):
        yield "σ is not that of the layer"
    if not close(perturbation, seen.gradient):
        yield "ρ is not that of the layer"
    if not close(seen.exchanged, seen.logits[::-1]):
        yield "part of the model goes past the layer"


def faults_of_attacks(defended: Any, x: np.ndarray, expected: np.ndarray) -> Iterator[str]:
    """Yield what is wrong with attacks through the defence."""
    y = np.eye(NB_CLASSES, dtype=np.float32)[expected.argsort(axis=1)[:, -2]]
    logits, gradient = model_families.of_module(as_module(defended), x, y.argmax(axis=1))
    if not close(logits, expected):
        yield "as_module gives something else"
    arts = defended.loss_gradient(x, y)
    if framework_of(defended) is Framework.TENSORFLOW:
        gradient, arts = direction(gradient), direction(arts)  # ART takes the mean of the losses
    if not close(gradient, arts):
        yield "the gradient of as_module is not ART's"
    attack = ProjectedGradientDescent(
        defended, eps=EPS, eps_step=EPS, max_iter=2, batch_size=N_TEST, verbose=False
    )
    moved = np.abs(attack.generate(x, y) - x).max()
    if not 0.5 * EPS < moved <= EPS + 1e-5:
        yield f"PGD moves images by {moved:.2g}"


def close(given: np.ndarray, expected: np.ndarray) -> bool:
    """Return whether two results are the same but for rounding."""
    scale = max(float(np.abs(expected).max()), 1e-30)
    return given.shape == expected.shape and bool(
        np.abs(given - expected).max() <= TOLERANCE * scale
    )


def direction(gradient: np.ndarray) -> np.ndarray:
    """Return a gradient of length one."""
    return gradient / max(float(np.linalg.norm(gradient)), 1e-30)


if __name__ == "__main__":
    sys.exit(main())
