"""NIP beside two other defences on real MNIST digits, within two minutes on two processor cores.

It trains LeNet-5 on the spot, attacks it, and measures what each defence repairs.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from art.attacks.evasion import DeepFool, FastGradientMethod, ProjectedGradientDescent
from art.defences.preprocessor import JpegCompression, SpatialSmoothing
from tqdm.auto import tqdm

from art_nip import data, plots, zoo
from art_nip.data import Images, Labels
from art_nip.metrics import (
    Proportion,
    accuracy,
    attack_success_rate,
    defence_success_rate,
    l2_norm,
    successful,
)
from art_nip.nip.preprocessor import NIPPreprocessor
from art_nip.utils.files import write_bytes
from art_nip.utils.optional import require
from art_nip.zoo import training
from art_nip.zoo.classifiers import as_classifier
from art_nip.zoo.training import Recipe

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLES = {"pytorch": "PyTorch", "tensorflow": "TensorFlow"}
CLASSES = 10
EXAMPLES = 5
CHUNK = 125  # images between two steps of a progress bar

EXPLANATION = (
    "Protocol held-out (NIP's candidates come from other images than those attacked), threat "
    "oblivious (the attacks do not know of the defence): the paper's DSR near 100 % needs each "
    "attacked image to meet the candidate of its own benign version, so do not expect it here."
)


@dataclass(frozen=True)
class Measurement:
    """One row of table.csv: a proportion with its 95 % interval, or a mean L2 norm without one.

    `attack` is "none" for benign images, `defence` "none" for the bare model.
    """

    attack: str
    defence: str
    protocol: str
    threat: str
    metric: str
    value: float
    low: float
    high: float
    n: int


def run(
    framework: str = "pytorch",
    out: str | Path = "results/demo",
    *,
    seed: int = 0,
    n_train: int = 3500,
    n_bank: int = 1000,
    n_test: int = 500,
    epochs: int = 10,
    verbose: bool = True,
) -> list[Measurement]:
    """Train, attack, defend and measure; write table.csv, examples.png and influence.png.

    The model is trained on some images, NIP takes its candidates from others, and both are measured
    on yet others (held-out). The attacks see the bare model only (oblivious).

    :param framework: "pytorch" or "tensorflow".
    :param out: Folder for the files; made if need be. A file appears whole or not at all.
    :param seed: Of the split, the weights and the order of training.
    :param n_train: Number of images to train on; this and the next two at least 10 each, and 5,000
        together or at most 4,990.
    :param n_bank: Number of images NIP takes its candidates from.
    :param n_test: Number of images attacked.
    :param epochs: Passes over the training images.
    :param verbose: Whether to show progress bars, on standard error.
    :return: The rows of table.csv.
    :raises ValueError: If the framework is unknown or the numbers of images are not possible.
    :raises ImportError: If the framework or a package of the extra `benchmark` is missing.
    :raises OSError: If the folder cannot be written.
    """
    if framework not in TITLES:
        raise ValueError(f"framework must be one of {', '.join(TITLES)}; got {framework!r}.")
    # Whatever is missing should show now, not after the training.
    for package in ("mlxtend", "PIL", "matplotlib"):
        require(package, to="run the demo", install="art-nip[benchmark]")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    with _one_thread(framework):
        classifier = _classifier(framework, seed)
        sizes = (n_train, n_bank, n_test)
        outcome, nip = _experiment(classifier, sizes, seed, epochs, verbose)
        measurements = _measure(outcome)
        write_bytes(folder / "table.csv", _csv(measurements))
        where = f"LeNet-5 on MNIST, {TITLES[framework]}, held-out, oblivious"
        examples = _examples(outcome, nip, "DeepFool", where, classifier.channels_first)
        write_bytes(folder / "examples.png", _png(examples))
        write_bytes(folder / "influence.png", _png(_influence(outcome, nip, where)))
    return measurements


def table(measurements: list[Measurement]) -> str:
    """Return the measurements as text: a defence a row, benign accuracy and each attack's DSR.

    :param measurements: What :func:`run` returns.
    """
    cells = {(m.attack, m.defence, m.metric): m for m in measurements}
    attacks = [m.attack for m in measurements if m.metric == "ASR"]
    defences = [m.defence for m in measurements if m.metric == "accuracy"]
    rows = [["", "benign accuracy", *(f"DSR, {attack}" for attack in attacks)]]
    for defence in defences:
        found = [cells["none", defence, "accuracy"]]
        found += [cells[attack, defence, "DSR"] for attack in attacks]
        rows.append([defence, *(_proportion(m) for m in found)])
    success = [cells[attack, "none", "ASR"] for attack in attacks]
    norms = [cells[attack, "none", "L2"] for attack in attacks]
    rows.append(["attack success rate", "", *(_proportion(m) for m in success)])
    rows.append(["successful attacks", "", *(str(m.n) for m in norms)])
    rows.append(["their mean L2", "", *(f"{m.value:.2f}" for m in norms)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    rule = "─" * (sum(widths) + 2 * (len(widths) - 1))
    return "\n".join([lines[0], rule, *lines[1 : 1 + len(defences)], rule, *lines[-3:]])


def _classifier(framework: str, seed: int) -> Any:
    """Return LeNet-5, untrained, as an ART classifier."""
    to, install = f"run the demo in {TITLES[framework]}", f"art-nip[{framework}]"
    if framework == "pytorch":
        require("torch", to=to, install=install)
    else:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        # ART's class_gradient makes TensorFlow warn of a slow gradient at every call.
        require("tensorflow", to=to, install=install).get_logger().setLevel("ERROR")
    shape = (1, 28, 28) if framework == "pytorch" else (28, 28, 1)
    training.seed_weights(framework, seed)
    model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=CLASSES)
    return as_classifier(model, framework, shape, CLASSES)


def _attacks(classifier: Any) -> dict[str, Any]:
    return {
        "FGSM ε=0.1": FastGradientMethod(classifier, eps=0.1, batch_size=CHUNK),
        "PGD ε=0.1": ProjectedGradientDescent(
            classifier, eps=0.1, eps_step=0.02, max_iter=20, batch_size=CHUNK, verbose=False
        ),
        # nb_grads below the number of classes makes ART mix up gradients and predictions. 0.02 is
        # the overshoot of DeepFool's authors; at ART's 1e-6, rounding takes successes back.
        "DeepFool": DeepFool(
            classifier,
            max_iter=10,
            epsilon=0.02,
            nb_grads=CLASSES,
            batch_size=CHUNK,
            verbose=False,
        ),
    }


def _output(preprocessor: Any) -> Callable[[Images], Images]:
    return lambda images: preprocessor(images)[0]


def _in_chunks(
    function: Callable[[Images], Images], x: Images, description: str, verbose: bool
) -> Images:
    results = []
    with tqdm(total=len(x), desc=description, unit="images", disable=not verbose) as bar:
        for start in range(0, len(x), CHUNK):
            results.append(function(x[start : start + CHUNK]))
            bar.update(len(results[-1]))
    return np.concatenate(results)


@dataclass(frozen=True)
class _Outcome:
    """What every image looked like and was taken for; attack "none" is benign."""

    labels: Labels
    images: Mapping[str, Images]  # by attack
    predictions: Mapping[tuple[str, str], Labels]  # by attack and defence

    def successes(self, attack: str) -> npt.NDArray[np.bool_]:
        return successful(
            self.labels, self.predictions["none", "none"], self.predictions[attack, "none"]
        )


def _experiment(
    classifier: Any, sizes: tuple[int, int, int], seed: int, epochs: int, verbose: bool
) -> tuple[_Outcome, NIPPreprocessor]:
    """Train the classifier, fit NIP, attack and defend, each on images of its own."""
    channels_first = classifier.channels_first
    train, bank, (x, y) = data.split(*data.mnist(channels_first=channels_first), sizes, seed)
    np.random.seed(seed)  # noqa: NPY002 - some of ART draws from NumPy's global state
    recipe = Recipe(epochs=epochs, batch_size=50, shift=1, bfloat16=False)
    training.train(classifier.model, *train, recipe, seed=seed, verbose=verbose)
    nip = NIPPreprocessor.for_estimator(classifier, verbose=verbose)
    nip.fit(*bank)
    images = {"none": x}
    for name, attack in _attacks(classifier).items():
        images[name] = _in_chunks(attack.generate, x, name, verbose)
    defences: dict[str, Callable[[Images], Images]] = {
        "none": lambda images: images,
        "SpatialSmoothing 2×2": _output(SpatialSmoothing(2, channels_first, (0, 1))),
        "JpegCompression 80": _output(JpegCompression((0, 1), 80, channels_first)),
        "NIP": _output(nip),
    }
    predictions = {
        (attack, defence): classifier.predict(function(batch)).argmax(axis=1)
        for attack, batch in images.items()
        for defence, function in defences.items()
    }
    return _Outcome(y, images, predictions), nip


def _measure(outcome: _Outcome) -> list[Measurement]:
    rows: list[Measurement] = []

    def add(attack: str, defence: str, metric: str, rate: Proportion) -> None:
        rows.append(Measurement(attack, defence, "held-out", "oblivious", metric, *astuple(rate)))

    y, benign = outcome.labels, outcome.predictions["none", "none"]
    for (attack, defence), predicted in outcome.predictions.items():
        if attack == "none":
            add(attack, defence, "accuracy", accuracy(y, predicted))
            continue
        adversarial = outcome.predictions[attack, "none"]
        if defence == "none":
            hit = outcome.successes(attack)
            norms = l2_norm(outcome.images["none"][hit], outcome.images[attack][hit])
            mean = float(norms.mean()) if len(norms) else math.nan
            add(attack, defence, "ASR", attack_success_rate(y, benign, adversarial))
            add(attack, defence, "L2", Proportion(mean, math.nan, math.nan, len(norms)))
        add(attack, defence, "DSR", defence_success_rate(y, benign, adversarial, predicted))
    return rows


def _proportion(measurement: Measurement) -> str:
    return str(Proportion(measurement.value, measurement.low, measurement.high, measurement.n))


def _examples(
    outcome: _Outcome, nip: NIPPreprocessor, attack: str, where: str, channels_first: bool
) -> Figure:
    # The first success for each digit, repaired or not; where there is none, a failure.
    order = np.argsort(~outcome.successes(attack), kind="stable")
    _, first = np.unique(outcome.labels[order], return_index=True)
    shown = order[first[:EXAMPLES]]
    x_adv = outcome.images[attack][shown]
    return plots.image_grid(
        outcome.images["none"][shown],
        x_adv,
        nip(x_adv)[0],
        nip.candidates.perturbations[nip.retrieve(x_adv)],
        labels=outcome.labels[shown],
        predictions={
            "benign": outcome.predictions["none", "none"][shown],
            "adversarial": outcome.predictions[attack, "none"][shown],
            "defended": outcome.predictions[attack, "NIP"][shown],
        },
        channels_first=channels_first,
        title=f"NIP on {attack}\n{where}",
    )


def _influence(outcome: _Outcome, nip: NIPPreprocessor, where: str) -> Figure:
    pairs = {}
    for attack, x_adv in outcome.images.items():
        hit = outcome.successes(attack)
        if hit.any():
            benign = nip.influence(outcome.images["none"][hit])
            pairs[attack] = (benign, nip.influence(x_adv[hit]))
    return plots.influence_bars(pairs, title=f"Neuron influence on successful attacks\n{where}")


def _csv(measurements: list[Measurement]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(field.name for field in fields(Measurement))
    for row in map(astuple, measurements):
        writer.writerow(
            "" if isinstance(cell, float) and math.isnan(cell) else cell for cell in row
        )
    return text.getvalue().encode()


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


@contextlib.contextmanager
def _one_thread(framework: str) -> Iterator[None]:
    """Keep PyTorch to one thread: numbers then do not depend on how many cores there are.

    LeNet-5 is too small to gain from more, and loses much where other programs share the cores.
    """
    if framework != "pytorch":
        yield
        return
    torch = require("torch", to="run the demo in PyTorch", install="art-nip[pytorch]")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
