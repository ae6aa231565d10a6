"""Measurements as a report says them: rounded, with their intervals, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean

from art_nip.benchmark.report.document import TableCell
from art_nip.benchmark.report.results import Measurements, Sweep
from art_nip.benchmark.schema.rows import Row
from art_nip.benchmark.schema.words import NONE, Norm

MISSING = TableCell("–")
FAILED = TableCell("failed")
NO_SUCCESS = TableCell("n/a")
NONE_RIGHT = TableCell("none right")

SIGNS = {
    MISSING: "not measured, or not yet",
    FAILED: "it raised an error, see Failures",
    NO_SUCCESS: "no adversarial example succeeded",
    NONE_RIGHT: "no image was classified right to begin with, so that no attack could succeed",
}

Show = Callable[[Row], TableCell]
Scored = tuple[float, TableCell]
"""A value to compare and the cell that shows it; NaN is never the best."""


def shown(measured: Measurements, attack: str, defence: str, metric: str, show: Show) -> TableCell:
    """Return what a table says of a metric, or why it says nothing."""
    row = measured.get((attack, defence, metric))
    if row is None:
        return FAILED if (attack, defence, "error") in measured else MISSING
    if not math.isnan(row.value):
        return show(row)
    attacked = measured.get((attack, defence, "asr")) or measured.get((attack, NONE, "asr"))
    return NONE_RIGHT if attacked is not None and attacked.n == 0 else NO_SUCCESS


def signs(rows: Sequence[tuple[str, Sequence[TableCell]]]) -> str:
    """Return the meaning of the signs that a table uses."""
    used = {cell for _, cells in rows for cell in cells}
    return "".join(f" {sign.value}: {meaning}." for sign, meaning in SIGNS.items() if sign in used)


def number(decimals: int) -> Show:
    """Return a function that shows a value, with its interval if it has one."""

    def text(value: float) -> str:
        # Rounding may leave a minus before zero.
        return "∞" if math.isinf(value) else f"{round(value, decimals) + 0.0:.{decimals}f}"

    def show(row: Row) -> TableCell:
        interval = () if math.isnan(row.low) else (f"[{text(row.low)}, {text(row.high)}]",)
        return TableCell(text(row.value), interval)

    return show


def rated(
    measured: Measurements, attack: str, defences: Sequence[str], metric: str
) -> list[Scored]:
    """Return a rate of each defence under an attack."""
    scored = []
    for defence in defences:
        row = measured.get((attack, defence, metric))
        value = math.nan if row is None else row.value
        scored.append((value, shown(measured, attack, defence, metric, number(2))))
    return scored


def with_none(measured: Measurements) -> Measurements:
    """Add the DSR of no defence, which is not measured: 0 for each attack that has a DSR."""
    nothing = {
        (attack, NONE, "dsr"): replace(
            row, defence=NONE, value=0 * row.value, low=math.nan, high=math.nan
        )
        for (attack, _, metric), row in measured.items()
        if metric == "dsr"
    }
    return {**measured, **nothing}


def means(
    rates: Measurements, attacks: Sequence[str], defences: Sequence[str], sweeps: Sequence[Sweep]
) -> list[Scored]:
    """Return the mean DSR of each defence; NaN if it lacks one that other defences have."""
    values = {
        (attack, defence): row.value
        for (attack, defence, metric), row in rates.items()
        if metric == "dsr" and not math.isnan(row.value)
    }
    having = [attack for attack in attacks if (attack, NONE) in values]
    # Attacks of one sweep are alike, and would outvote the others.
    sweep_of = {label: place for place, sweep in enumerate(sweeps) for label in sweep.sizes}
    groups: dict[object, list[str]] = {}
    for attack in having:
        groups.setdefault(sweep_of.get(attack, attack), []).append(attack)
    scored = []
    for defence in defences:
        if not having or any((attack, defence) not in values for attack in having):
            scored.append((math.nan, MISSING))
            continue
        mean = fmean(
            fmean(values[attack, defence] for attack in group) for group in groups.values()
        )
        scored.append((mean, TableCell(f"{mean:.2f}")))
    return scored


def worst_of(measured: Measurements, attacks: Sequence[str], defence: str) -> Scored:
    """Return the lowest accuracy of a defence over attacks; it is no score if one is missing."""
    keys = [(attack, defence, "accuracy") for attack in attacks]
    rows = [measured[key] for key in keys if key in measured]
    if not rows:
        return math.nan, MISSING
    lowest = min(rows, key=lambda row: row.value)
    cell = number(2)(lowest)
    cell = replace(cell, details=(*cell.details, lowest.attack))
    if len(rows) < len(attacks):
        return math.nan, replace(cell, value=f"≤ {cell.value}")
    return lowest.value, cell


def p_value(row: Row) -> TableCell:
    """Return a p-value as text."""
    return TableCell("< 0.001" if row.value < 0.001 else f"{row.value:.3f}")


def size(row: Row) -> str:
    """Return the ε of a row with its norm, where that is not L∞."""
    if row.norm == Norm.L2:
        return f"{Norm.L2.sign} {row.eps:g}"
    return share(row.eps) if row.norm == Norm.LINF else f"{row.eps:g} in a norm of its own"


def share(eps: float) -> str:
    """Return ε as RobustBench writes it: 8/255, or a decimal where that is short."""
    steps, decimal = eps * 255, f"{eps:g}"
    whole = abs(steps - round(steps)) < 1e-6
    return f"{round(steps)}/255" if whole and len(decimal) > 3 else decimal
