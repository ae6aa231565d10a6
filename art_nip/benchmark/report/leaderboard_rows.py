"""The rows of a leaderboard: what each defence of a folder of results keeps under attack."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from art_nip.benchmark.report.document import TableCell
from art_nip.benchmark.report.results import Measurements, Results
from art_nip.benchmark.report.scores import means, number, p_value, size, with_none
from art_nip.benchmark.schema.rows import Row
from art_nip.benchmark.schema.words import BENIGN, NONE, Status, Threat

UNKNOWN = "not said"
"""The data set of a benchmark that was not told it."""

MOST_NAMED = 4
"""The largest number of attacks that a cell names."""

EMPTY = TableCell("–", order=math.nan)

DataRow = tuple[str, list[TableCell]]


@dataclass(frozen=True)
class Store:
    """A folder of results of those to compare.

    :param folder: the folder.
    :param results: what it holds.
    """

    folder: Path
    results: Results

    @property
    def data(self) -> str:
        """The name of the data set."""
        return self.results.run.data or UNKNOWN

    def named(self) -> list[TableCell]:
        """Return the cells that say where a row is from: benchmark and data set."""
        model = (self.results.run.model or "").partition(", fingerprint ")[0]
        return [
            TableCell(self.results.run.name, (model,) if model else ()),
            TableCell(self.data),
        ]


def adaptive_rows(store: Store, protocol: str) -> Iterator[DataRow]:
    """Yield a row for each defence and each budget: the lower of a suite and of other attacks."""
    results = store.results
    measured = results.measured(Threat.ADAPTIVE, protocol)
    for defence in results.defences:
        found = {size(left.row): left for left in _of_attacks(results, measured, defence)}
        for left in _of_suites(results, measured, defence):
            other = found.get(size(left.row))
            if other is None or left.row.value <= other.row.value:
                found[size(left.row)] = left
        for budget, left in found.items():
            yield (
                defence,
                [
                    *store.named(),
                    TableCell(budget),
                    left.cell(),
                    TableCell(left.by),
                    _cell(measured, BENIGN, defence, "accuracy"),
                    _cell(measured, left.row.attack, defence, "worst_case_difference"),
                    _p(measured.get((left.row.attack, defence, "worst_case_p"))),
                    _failed(results, left.row),
                    _passes(measured, defence),
                ],
            )


@dataclass(frozen=True)
class Left:
    """The accuracy that attacks within one ε leave of a defence.

    :param row: its row of the table.
    :param by: which attacks.
    :param complete: whether all of them have a result; else it may be lower.
    """

    row: Row
    by: str
    complete: bool

    def cell(self) -> TableCell:
        """Return the accuracy, with the number of images; it has no rank if it may be lower."""
        cell = _measured(self.row)
        cell = replace(cell, details=(*cell.details, f"n = {self.row.n:,}"))
        if self.complete:
            return cell
        return replace(cell, value=f"≤ {cell.value}", order=math.nan)


def _of_suites(results: Results, measured: Measurements, defence: str) -> Iterator[Left]:
    for suite in results.suites:
        row = measured.get((suite, defence, "worst_case_accuracy"))
        if row is not None and not math.isnan(row.value):
            yield Left(row, f"suite {suite}", not results.failed(measured, suite, defence))


def _of_attacks(results: Results, measured: Measurements, defence: str) -> Iterator[Left]:
    """Yield for each ε and norm the lowest accuracy under the attacks that are in no suite."""
    norms = {attack.label: attack.norm for attack in results.run.attacks}
    by_size: dict[tuple[float, str], list[str]] = {}
    for attack in results.alone:
        if attack in results.sizes:
            key = results.sizes[attack], norms.get(attack, "")
            by_size.setdefault(key, []).append(attack)
    for attacks in by_size.values():
        found = (
            # An attacker may ask a random defence again.
            measured.get((attack, defence, "accuracy_worst_draw"))
            or measured.get((attack, defence, "accuracy"))
            for attack in attacks
        )
        rows = [row for row in found if row is not None and not math.isnan(row.value)]
        if rows:
            lowest = min(rows, key=lambda row: row.value)
            by = f"worst of {len(rows)}: {lowest.attack}" if len(rows) > 1 else lowest.attack
            yield Left(lowest, by, len(rows) == len(attacks))


def _failed(results: Results, row: Row) -> TableCell:
    """Return how many items of the checklist of a suite failed."""
    if row.attack not in results.suites:
        return EMPTY
    items = [
        item for item in results.checklist(row.attack, row.protocol) if item.defence == row.defence
    ]
    n = sum(item.status == Status.FAILED for item in items)
    return TableCell(f"{n} of {len(items)}", order=float(n)) if items else EMPTY


def oblivious_rows(store: Store, protocol: str) -> Iterator[DataRow]:
    """Yield a row for each defence that met attacks which do not know of it."""
    results = store.results
    measured = results.measured(Threat.OBLIVIOUS, protocol)
    rates = with_none(measured)
    attacks = [
        attack
        for attack in results.attacks
        if any((attack, defence, "dsr") in measured for defence in results.defences)
    ]
    if not attacks:
        return
    scored = means(rates, attacks, results.defences, results.sweeps())
    for defence, (value, cell) in zip(results.defences, scored, strict=True):
        rows = [
            row
            for attack in attacks
            if (row := measured.get((attack, defence, "dsr"))) and not math.isnan(row.value)
        ]
        if not rows and defence != NONE:
            continue
        lowest = EMPTY
        if rows:
            row = min(rows, key=lambda row: row.value)
            lowest = _measured(row)
            lowest = replace(lowest, details=(*lowest.details, row.attack))
        benign = measured.get((BENIGN, defence, "accuracy"))
        yield (
            defence,
            [
                *store.named(),
                replace(cell, order=value),
                lowest,
                _attacks(attacks),
                _cell(measured, BENIGN, defence, "accuracy"),
                EMPTY if benign is None else TableCell(f"{benign.n:,}", order=float(benign.n)),
                _passes(measured, defence),
            ],
        )


def _attacks(attacks: Sequence[str]) -> TableCell:
    more = len(attacks) - MOST_NAMED
    names = ", ".join(attacks[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    return TableCell(str(len(attacks)), (names,) if names else (), order=float(len(attacks)))


def _measured(row: Row) -> TableCell:
    return replace(number(2)(row), order=row.value)


def _cell(measured: Measurements, attack: str, defence: str, metric: str) -> TableCell:
    row = measured.get((attack, defence, metric))
    return EMPTY if row is None or math.isnan(row.value) else _measured(row)


def _p(row: Row | None) -> TableCell:
    return EMPTY if row is None else replace(p_value(row), order=row.value)


def _passes(measured: Measurements, defence: str) -> TableCell:
    row = measured.get((BENIGN, defence, "forward_passes"))
    return EMPTY if row is None else TableCell(f"{row.value:.3g}", order=row.value)
