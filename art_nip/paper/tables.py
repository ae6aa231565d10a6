"""Tables I to IV of the paper, ours beside the paper's, in Markdown."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import Any

from art_nip import zoo
from art_nip.benchmark.schema.rows import Row
from art_nip.benchmark.schema.words import NONE
from art_nip.metrics import Proportion
from art_nip.paper import grids, measured, published
from art_nip.paper.figures.examples import defence
from art_nip.paper.setting import Made, Setting
from art_nip.paper.subjects import Loaded, subjects
from art_nip.zoo.architectures import Architecture, LayerSpec, Residual, output_shape

TIMED_IMAGES = 5000
"""Table IV is of that many images."""


def models(setting: Setting) -> Made:
    """Return Table I: size of the models, and accuracy on the first test images.

    Layers are the modules of our models with pooling, normalisation, ReLU and dropout; neurons are
    the channels or units of each of them, summed, as neuron coverage counts them. The paper counts
    ReLU in some models and not in others.
    """
    lines = []
    for subject in subjects(setting):
        theirs = published.MODELS.get(subject.name)
        trained = subject.trained
        layers, neurons = _size(
            zoo.architecture_of(trained.name, trained.nb_classes), trained.image_shape
        )
        ours = (
            f"{_parameters(subject):,}",
            f"{layers}",
            f"{neurons:,}",
            _rate(subject.accuracy),
        )
        paper = (
            ("–",) * 4
            if theirs is None
            else (
                *(f"{theirs.parameters:,}", f"{theirs.layers}"),
                *(f"{theirs.neurons:,}", f"{theirs.accuracy:.2f}"),
            )
        )
        side = "×".join(map(str, trained.image_shape[1:]))
        pairs = [f"{a} ({b})" for a, b in zip(ours, paper, strict=True)]
        lines.append([subject.label, side, *pairs])
    heading = ["model", "images", "parameters", "layers", "neurons", "accuracy"]
    return Made(markdown(heading, lines))


def examples(setting: Setting) -> Made:
    """Return Table II: mean L2 norm and success rate of the attacks, ours and (the paper's)."""
    lines = []
    for subject in subjects(setting):
        results = grids.comparison(subject, setting)
        theirs = published.EXAMPLES.get(subject.name, {})
        norms = {attack: row for attack, by, row in measured.rows(results, "l2") if by == NONE}
        rates = {attack: row for attack, by, row in measured.rows(results, "asr") if by == NONE}
        for attack in results.held_out.attacks:
            size, share = theirs.get(attack, (math.nan, math.nan))
            lines.append(
                [
                    subject.label,
                    attack,
                    f"{_number(norms.get(attack))} ({_plain(size)})",
                    f"{_rate(rates.get(attack))} ({_plain(share)})",
                ]
            )
    return Made(markdown(["model", "attack", "mean L2 norm", "success rate"], lines))


def benign(setting: Setting) -> Made:
    """Return Table III: accuracy on benign images that the bare model gets right."""
    lines = []
    for subject in subjects(setting):
        results = grids.comparison(subject, setting)
        theirs = published.BENIGN.get(subject.name, {})
        for label, row in measured.by_defence(results, "accuracy").items():
            if label != NONE:
                paper = _plain(theirs.get(label, math.nan))
                lines.append([subject.label, label, f"{_rate(row)} ({paper})"])
    return Made(markdown(["model", "defence", "benign accuracy"], lines))


def seconds(setting: Setting) -> Made:
    """Return Table IV: seconds for 5,000 images, and their ratio to SpatialSmoothing's.

    Ours are those of the defence alone, without the model's own pass, the fastest of three goes.
    Machines differ; ratios are what can be compared.
    """
    lines = []
    for subject in subjects(setting):
        theirs = published.SECONDS.get(subject.name, {})
        own = {name: _seconds(subject, name, setting) for name in published.TIMED}
        for name, ours in own.items():
            paper = theirs.get(name, math.nan)
            ratio = paper / theirs["ss"] if theirs else math.nan
            lines.append(
                [
                    subject.label,
                    name,
                    f"{_plain(ours)} ({_plain(paper)})",
                    f"{_plain(ours / own['ss'])} ({_plain(ratio)})",
                ]
            )
    return Made(markdown(["model", "defence", "seconds for 5,000 images", "ratio to ss"], lines))


def _seconds(subject: Loaded, name: str, setting: Setting) -> float:
    """Return how long a defence takes for 5,000 images, from as many as there are."""
    determined_by = subject.with_bank

    def measure() -> dict[str, Any]:
        preprocessor, times = defence(subject, setting, name), []
        preprocessor(subject.x)
        for _ in range(3):
            started = time.perf_counter()
            preprocessor(subject.x)
            times.append(time.perf_counter() - started)
        return {"seconds": min(times) * TIMED_IMAGES / len(subject.x)}

    found = setting.results.record(f"seconds-{subject.name}-{name}", determined_by, measure)
    return float(found["seconds"])


def _parameters(subject: Loaded) -> int:
    """Return how many numbers are trained or kept, BatchNorm statistics included."""
    return sum(array.size for array in zoo.get_weights(subject.classifier.model).values())


def _size(architecture: Architecture, image_shape: tuple[int, ...]) -> tuple[int, int]:
    """Return how many layers a model has, and the sum of their channels or units."""
    shape = image_shape
    counted: list[int] = []
    for layer in architecture.features:
        counted += _channels(layer, shape)
        shape = output_shape([layer], shape)
    flat = (math.prod(shape),)
    for layer in architecture.classifier:
        counted += _channels(layer, flat)
        flat = output_shape([layer], flat)  # type: ignore[assignment]
    return len(counted), sum(counted)


def _channels(layer: LayerSpec, shape: tuple[int, ...]) -> list[int]:
    """Return the channels of a layer's output, and of the layers within it."""
    inner: list[int] = []
    if isinstance(layer, Residual):
        for path in (layer.body, layer.shortcut):
            at = shape
            for part in path:
                inner += _channels(part, at)
                at = output_shape([part], at)
    return [*inner, output_shape([layer], shape)[0]]


def _rate(row: Row | Proportion | None) -> str:
    return "–" if row is None else interval(row.value, row.low, row.high)


def interval(value: float, low: float, high: float) -> str:
    """Return a rate and its interval as tables have them."""
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _number(row: Row | None) -> str:
    return "–" if row is None else f"{row.value:.2f}"


def _plain(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:,.{2 if value < 10 else 1}f}"


def markdown(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown.

    :param heading: of its columns.
    :param lines: their cells, row by row.
    """
    rows = [heading, ["---"] * len(heading), *lines]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
