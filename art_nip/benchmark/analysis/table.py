"""Makes one tidy table of the results on disk: a row for each metric of each cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from art_nip.benchmark.analysis.curves import curves
from art_nip.benchmark.analysis.results import Crafted, GridResults
from art_nip.benchmark.analysis.worst_case import Outcome, differences
from art_nip.benchmark.execution.draws import drawn, wrong_by_majority, wrong_in_any
from art_nip.benchmark.execution.store import Result
from art_nip.benchmark.plan.grid import Cell
from art_nip.benchmark.schema.rows import COLUMNS
from art_nip.benchmark.schema.words import ACCURACY_AT, BENIGN, LEFT_SO_FAR, NEAREST, NONE, Threat
from art_nip.metrics import (
    Proportion,
    accuracy,
    attack_success_rate,
    defence_success_rate,
    successful,
)

BOUNDS = {"tknc": (0, 1), "psnr": (-math.inf, math.inf)}
"""Bounds of a mean, by metric, where they are not 0 and infinity."""

Figure = tuple[str, float, float, float, int]
"""Metric, value, lower and upper bound, number of images."""


def tidy(results: GridResults, suites: Sequence[Outcome]) -> pd.DataFrame:
    """Return the table of all cells with results; see :meth:`art_nip.benchmark.Benchmark.run`.

    :param suites: what the adaptive suites did.
    """
    cells = {
        (cell.attack, cell.defence, cell.protocol, cell.threat): cell for cell in results.grid.cells
    }
    rows = [row for cell in results.grid.cells for row in _rows(cell, cells, results)]
    rows += [
        _of_suite(outcome, _rate("worst_case_accuracy", Proportion.of(outcome.robust)))
        for outcome in suites
    ]
    for outcome in suites:
        if (repeated := outcome.repeated) is not None:
            once = _rate("worst_case_accuracy_one_draw", Proportion.of(outcome.robust_once))
            majority = _rate("worst_case_accuracy_majority", Proportion.of(repeated.majority))
            rows += [_of_suite(outcome, once), _of_suite(outcome, majority)]
        if outcome.cascade:
            rows += [
                _of_suite(outcome, _rate(LEFT_SO_FAR, Proportion.of(~wrong)), f": {role}")
                for role, wrong in outcome.in_turn.items()
            ]
    for outcome, found in differences(suites):
        figure = ("worst_case_difference", found.value, found.low, found.high, found.n)
        rows.append(_of_suite(outcome, figure))
        rows.append(_of_suite(outcome, ("worst_case_p", found.p, math.nan, math.nan, found.n)))
    rows += [
        (
            *(NEAREST, point.defence, str(point.protocol), str(Threat.ADAPTIVE)),
            *_rate(ACCURACY_AT, point.rate),
            *(math.nan, point.eps, "", str(point.norm)),
        )
        for point in curves(results)
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=list(COLUMNS))
    return table


def _of_suite(outcome: Outcome, figure: Figure, member: str = "") -> tuple[Any, ...]:
    where = (outcome.suite + member, outcome.defence, str(outcome.protocol), str(Threat.ADAPTIVE))
    return (*where, *figure, math.nan, outcome.eps, "", str(outcome.norm))


def _rows(cell: Cell, cells: Mapping[Any, Cell], results: GridResults) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a cell; none if it is not computed yet.

    :param cells: all cells by attack, defence, protocol and threat.
    """
    attack = None if cell.attack == BENIGN else results.grid.attacks[cell.attack]
    eps, norm = (math.nan, "") if attack is None else (attack.eps, attack.norm)
    where = (cell.attack, cell.defence, str(cell.protocol), str(cell.threat))
    compared = {"benign": (BENIGN, cell.defence, cell.protocol, cell.threat)}
    if not _is_of_the_attack(cell):
        compared["bare benign"] = (BENIGN, NONE, cell.protocol, cell.threat)
        compared["bare"] = (cell.attack, NONE, cell.protocol, cell.threat)
    predictions = results.predictions(cell)
    others = {name: results.predictions(cells[key]) for name, key in compared.items()}
    errors = [result.error for result in (predictions, *others.values()) if result and result.error]
    if cell.adversarial and (failure := results.failure(cell)):
        errors.insert(0, failure)
    if errors:
        yield (*where, "error", math.nan, math.nan, math.nan, 0, math.nan, eps, errors[0], norm)
        return
    crafted = results.crafted(cell) if cell.adversarial and _is_of_the_attack(cell) else None
    missing = cell.adversarial and _is_of_the_attack(cell) and crafted is None
    if missing or predictions is None or None in others.values():
        return
    seconds = predictions.facts["seconds"]
    if crafted is not None:
        seconds += crafted.facts["seconds"]
    for figure in _measure(cell, results.grid.y, crafted, predictions, others):
        yield (*where, *figure, seconds, eps, "", norm)


def _is_of_the_attack(cell: Cell) -> bool:
    """Return whether the adversarial examples themselves are measured in this cell."""
    return cell.defence == NONE or cell.threat == Threat.ADAPTIVE


def _measure(
    cell: Cell,
    labels: npt.NDArray[np.int64],
    crafted: Crafted | None,
    predictions: Result,
    others: Any,
) -> Iterator[Figure]:
    classes = predictions.arrays["classes"]
    n = len(classes)
    y = labels[:n]
    yield _rate("accuracy", accuracy(y, classes))
    if "draws" in predictions.arrays:
        asked = drawn(predictions)
        yield _rate("accuracy_majority", Proportion.of(~wrong_by_majority(asked, y)))
        yield _rate("accuracy_worst_draw", Proportion.of(~wrong_in_any(asked, y)))
    if cell.attack == BENIGN:
        yield from _cost(predictions.facts, "forward_per_image", "backward_per_image", n, 1)
        for name in ("psnr", "tknc"):
            if name in predictions.arrays and cell.defence != NONE:
                yield _mean(name, predictions.arrays[name])
        return
    before = {name: other.arrays["classes"][:n] for name, other in others.items()}
    if crafted is not None:
        benign = before["benign"]
        hit = successful(y, benign, classes)
        yield _rate("asr", attack_success_rate(y, benign, classes))
        yield _mean("l2", crafted.l2[hit])
        yield _mean("linf", crafted.linf[hit])
        yield from _cost(crafted.facts, "forward", "backward", n, n)
    else:
        bare_benign, bare = before["bare benign"], before["bare"]
        hit = successful(y, bare_benign, bare)
        yield _rate("dsr", defence_success_rate(y, bare_benign, bare, classes))
    for name in ("psnr", "tknc"):
        if name in predictions.arrays:
            yield _mean(name, predictions.arrays[name][hit])


def _rate(metric: str, rate: Proportion) -> Figure:
    return metric, rate.value, rate.low, rate.high, rate.n


def _mean(metric: str, values: npt.NDArray[np.float64]) -> Figure:
    """Return a mean with its 95 % interval by the normal approximation, within its `BOUNDS`."""
    if not len(values):
        return metric, math.nan, math.nan, math.nan, 0
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) if len(values) > 1 and math.isfinite(mean) else math.nan
    half = NormalDist().inv_cdf(0.975) * spread / math.sqrt(len(values))
    least, most = BOUNDS.get(metric, (0, math.inf))
    return metric, mean, max(mean - half, least), min(mean + half, most), len(values)


def _cost(
    facts: dict[str, Any], forward: str, backward: str, n: int, images: int
) -> Iterator[Figure]:
    """Yield the costs of one image.

    :param n: the number of images that took `facts["seconds"]`.
    :param images: the number of images that took the passes.
    """
    costs = {
        "seconds_per_image": facts["seconds"] / n,
        "forward_passes": facts.get(forward, math.nan) / images,
        "backward_passes": facts.get(backward, math.nan) / images,
    }
    for metric, value in costs.items():
        if not math.isnan(value):
            yield metric, value, math.nan, math.nan, n
