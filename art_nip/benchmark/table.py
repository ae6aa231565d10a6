"""From results on disk to one tidy table: a row for each metric of each cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache, partial
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from art_nip.benchmark.grid import Cell, Grid
from art_nip.benchmark.resolve import BENIGN, NONE
from art_nip.benchmark.store import Result, Store
from art_nip.benchmark.worst_case import Outcome
from art_nip.metrics import (
    Proportion,
    accuracy,
    attack_success_rate,
    defence_success_rate,
    l2_norm,
    linf_norm,
    successful,
)

COLUMNS = (
    *("attack", "defence", "protocol", "threat", "metric"),
    *("value", "low", "high", "n", "seconds", "eps", "error"),
)
BOUNDS = {"tknc": (0, 1), "psnr": (-math.inf, math.inf)}
"""Between what a mean can lie, where it is not 0 and infinity."""

Measured = tuple[str, float, float, float, int]
"""Metric, value, lower and upper bound, number of images."""


def tidy(grid: Grid, store: Store, suites: Sequence[Outcome]) -> pd.DataFrame:
    """Return the table of all cells that are there; see :meth:`art_nip.benchmark.Benchmark.run`.

    :param suites: what the adaptive suites did.
    """
    rows = []
    # Many cells compare with the same few.
    read = cache(partial(store.get, "predictions"))
    cells = {(each.attack, each.defence, each.protocol, each.threat): each for each in grid.cells}
    for cell in grid.cells:
        adversarial, missing = None, False
        if cell.adversarial and _is_of_the_attack(cell):
            adversarial = store.get("adversarial", cell.adversarial)
            missing = adversarial is None
        elif cell.adversarial:
            # It measures nothing of the images, which may be large, and fails where they did.
            adversarial = store.failure("adversarial", cell.adversarial)
        predictions = read(cell.predictions)
        eps = math.nan if cell.attack == BENIGN else grid.attacks[cell.attack].eps
        where = (cell.attack, cell.defence, cell.protocol, cell.threat)
        compared = {"benign": (BENIGN, cell.defence, cell.protocol, cell.threat)}
        if not _is_of_the_attack(cell):
            compared["bare benign"] = (BENIGN, NONE, cell.protocol, cell.threat)
            compared["bare"] = (cell.attack, NONE, cell.protocol, cell.threat)
        others = {name: read(cells[key].predictions) for name, key in compared.items()}
        needed = (adversarial, predictions, *others.values())
        failed = next((each for each in needed if each and each.error), None)
        if failed is not None:
            nothing = ("error", math.nan, math.nan, math.nan, 0)
            rows.append((*where, *nothing, math.nan, eps, failed.error))
            continue
        if missing or predictions is None or None in others.values():
            continue
        seconds = predictions.facts["seconds"]
        if adversarial is not None:
            seconds += adversarial.facts["seconds"]
        for measured in _measure(cell, grid, adversarial, predictions, others):
            rows.append((*where, *measured, seconds, eps, ""))
    for outcome in suites:
        worst = _rate("worst_case_accuracy", Proportion.of(outcome.robust))
        where = (outcome.suite, outcome.defence, outcome.protocol, "adaptive")
        rows.append((*where, *worst, math.nan, outcome.eps, ""))
    table: pd.DataFrame = pd.DataFrame(rows, columns=list(COLUMNS))
    return table


def _is_of_the_attack(cell: Cell) -> bool:
    """Return whether this is the cell in which the adversarial examples themselves are measured."""
    return cell.defence == NONE or cell.threat == "adaptive"


def _measure(
    cell: Cell, grid: Grid, adversarial: Result | None, predictions: Result, others: Any
) -> Iterator[Measured]:
    classes = predictions.arrays["classes"]
    n = len(classes)
    y = grid.y[:n]
    yield _rate("accuracy", accuracy(y, classes))
    if cell.attack == BENIGN:
        yield from _cost(predictions.facts, "forward_per_image", "backward_per_image", n, 1)
        for name in ("psnr", "tknc"):
            if name in predictions.arrays and cell.defence != NONE:
                yield _mean(name, predictions.arrays[name])
        return
    before = {name: other.arrays["classes"][:n] for name, other in others.items()}
    if adversarial is not None:
        x, benign = grid.x[:n], before["benign"]
        hit = successful(y, benign, classes)
        yield _rate("asr", attack_success_rate(y, benign, classes))
        yield _mean("l2", l2_norm(x, adversarial.arrays["x"])[hit])
        yield _mean("linf", linf_norm(x, adversarial.arrays["x"])[hit])
        yield from _cost(adversarial.facts, "forward", "backward", n, n)
    else:
        bare_benign, bare = before["bare benign"], before["bare"]
        hit = successful(y, bare_benign, bare)
        yield _rate("dsr", defence_success_rate(y, bare_benign, bare, classes))
    for name in ("psnr", "tknc"):
        if name in predictions.arrays:
            yield _mean(name, predictions.arrays[name][hit])


def _rate(metric: str, rate: Proportion) -> Measured:
    return metric, rate.value, rate.low, rate.high, rate.n


def _mean(metric: str, values: npt.NDArray[np.float64]) -> Measured:
    """Return a mean with its 95 % interval by the normal approximation, within what can be."""
    if not len(values):
        return metric, math.nan, math.nan, math.nan, 0
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) if len(values) > 1 and math.isfinite(mean) else math.nan
    half = NormalDist().inv_cdf(0.975) * spread / math.sqrt(len(values))
    least, most = BOUNDS.get(metric, (0, math.inf))
    return metric, mean, max(mean - half, least), min(mean + half, most), len(values)


def _cost(
    facts: dict[str, Any], forward: str, backward: str, n: int, images: int
) -> Iterator[Measured]:
    """Yield what an image costs.

    :param n: how many images took `facts["seconds"]`.
    :param images: how many took the passes.
    """
    costs = {
        "seconds_per_image": facts["seconds"] / n,
        "forward_passes": facts.get(forward, math.nan) / images,
        "backward_passes": facts.get(backward, math.nan) / images,
    }
    for metric, value in costs.items():
        if not math.isnan(value):
            yield metric, value, math.nan, math.nan, n
