"""The tables of a report on defences: where measurements stand, and which of them stand out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from graphlib import TopologicalSorter
from itertools import pairwise

from art_nip.benchmark.report.document import Table, TableCell
from art_nip.benchmark.report.results import Measurements, Sweep
from art_nip.benchmark.report.scores import (
    MISSING,
    Scored,
    Show,
    means,
    number,
    p_value,
    rated,
    shown,
    signs,
    with_none,
    worst_of,
)
from art_nip.benchmark.schema.checklist import ChecklistItem
from art_nip.benchmark.schema.rows import Row
from art_nip.benchmark.schema.words import BENIGN, NONE, Norm, Status

BEST = "Bold: the highest value among the defences, as printed; the intervals may well overlap."


def success(
    measured: Measurements, attacks: Sequence[str], defences: Sequence[str], sweeps: Sequence[Sweep]
) -> Table:
    """Return how defences do against oblivious attacks: benign accuracy, DSR, and mean DSR."""
    rates = with_none(measured)
    notes = "none puts nothing right, by definition. Mean: over all attacks that have a rate"
    if sweeps:
        notes += ", where those that differ only by ε count as one"
    rows = _by_defence(
        defences,
        rated(measured, BENIGN, defences, "accuracy"),
        *(rated(rates, attack, defences, "dsr") for attack in attacks),
        means(rates, attacks, defences, sweeps),
    )
    return Table(
        "Defence success rate (DSR): the share of the successful adversarial examples that the "
        "defence puts right. First, the accuracy on benign images.",
        "defence",
        ["benign accuracy", *attacks, "mean DSR"],
        rows,
        foot=[_counts(measured, attacks, "dsr", behind=1)],
        across="attack",
        notes=f"{notes}. n: benign images, and successful adversarial examples. {BEST}"
        + signs(rows),
    )


def worst_case(
    measured: Measurements,
    suite: str,
    defences: Sequence[str],
    items: Sequence[ChecklistItem],
) -> Table:
    """Return the worst case of an adaptive suite: accuracy when each image meets all its attacks.

    :param items: items of the checklist.
    """
    rows = _by_defence(
        defences,
        rated(measured, BENIGN, defences, "accuracy"),
        rated(measured, suite, defences, "worst_case_accuracy"),
        _compared(measured, suite, defences, "worst_case_difference", number(2)),
        _compared(measured, suite, defences, "worst_case_p", p_value),
        [(math.nan, _checked(items, defence)) for defence in defences],
    )
    row = next((measured[key] for key in measured if key[2] == "worst_case_accuracy"), None)
    budget = ""
    if row is not None:
        sign = Norm(row.norm or Norm.LINF).sign
        budget = f" {sign} at most {row.eps:.3g}, of images in [0, 1]; n = {row.n}."
    return Table(
        f"Worst-case accuracy under the suite {suite!r}: the share of the images that the defended "
        "classifier gets right whichever attack of the suite they meet, and if it is random, in "
        f"each of several draws.{budget}",
        "defence",
        ["benign accuracy", "worst-case accuracy", "difference to none", "p", "checklist"],
        rows,
        notes="none is the classifier alone under the same budget: a defence is worth what it adds "
        "to that. Difference to none: over the same images, with the interval of a paired "
        "difference (Bonett and Price, 2012). p: how probable a difference so large is by chance "
        "alone (exact McNemar test), adjusted for the number of defences by Holm's method; the "
        "intervals are not. Checklist: items passed; those failed are counted too. "
        f"{BEST}{signs(rows)}",
    )


def repeated(
    measured: Measurements, attacks: Sequence[str], suites: Sequence[str], draws: int | None
) -> Table | None:
    """Return the accuracy of random defences in several draws; None where nothing is random.

    :param suites: labels of the adaptive suites.
    :param draws: how often a random defence was asked about an image.
    """
    one_of_suite = "worst_case_accuracy_one_draw"
    random = [key[1] for key in measured if key[2] in ("accuracy_majority", one_of_suite)]
    defences = list(dict.fromkeys(random))
    if not defences:
        return None
    of_attack = ("accuracy", "accuracy_majority", "accuracy_worst_draw")
    of_suite = (one_of_suite, "worst_case_accuracy_majority", "worst_case_accuracy")
    metrics = dict.fromkeys((BENIGN, *attacks), of_attack)
    metrics |= dict.fromkeys(suites, of_suite)
    rows = [
        (
            f"{defence}, {count}",
            [
                shown(measured, of, defence, kinds[place], number(2))
                for of, kinds in metrics.items()
            ],
        )
        for defence in defences
        for place, count in enumerate(("one draw", "majority", "worst draw"))
    ]
    return Table(
        f"Random defences, asked {draws} times about each image: accuracy of one draw, of the "
        "majority of the draws, and of the worst of them.",
        "defence",
        [BENIGN, *attacks, *(f"{suite}, worst case" for suite in suites)],
        rows,
        across="attack",
        notes="Worst draw: the share of the images that are right in each draw, as an attacker may "
        "ask again. That is what counts as the worst case of a suite. Other tables have the "
        f"accuracy of one draw.{signs(rows)}",
    )


def checklist(suite: str, defences: Sequence[str], items: Sequence[ChecklistItem]) -> Table:
    """Return the items of the checklist of an adaptive suite, with their evidence."""
    found = {(item.item, item.defence): item for item in items}
    listed = [defence for defence in defences if any(key[1] == defence for key in found)]
    rows = []
    for name in dict.fromkeys(item.item for item in items):
        cells = []
        for defence in listed:
            item = found.get((name, defence))
            cells.append(TableCell(str(item.status), (item.evidence,)) if item else MISSING)
        rows.append((name, cells))
    return Table(
        f"Checklist of the suite {suite!r}: what must hold before its worst case is believed.",
        "item",
        listed,
        rows,
        across="defence",
        notes="An item that failed says that a stronger attack may well exist.",
        texts=True,
        folded=True,
    )


def _checked(items: Sequence[ChecklistItem], defence: str) -> TableCell:
    """Return how many items passed and failed."""
    found = [item.status for item in items if item.defence == defence]
    if not found:
        return MISSING
    failed = found.count(Status.FAILED)
    details = (f"{failed} failed",) if failed else ()
    return TableCell(f"{found.count(Status.PASSED)} of {len(found)}", details)


def robustness(
    measured: Measurements,
    attacks: Sequence[str],
    defences: Sequence[str],
    alone: Sequence[str],
    sizes: Mapping[str, float],
) -> Table:
    """Return the accuracy under adaptive attacks, and under the worst of them.

    :param alone: the attacks that belong to no suite: attacks of a suite differ in budget, and have
        a worst case of their own.
    :param sizes: ε of the attacks that have one. Others go as far as it takes, and would be the
        worst of any defence.
    """
    bounded = [attack for attack in alone if attack in sizes]
    notes = (
        "Worst attack: the lowest accuracy over the attacks of no suite that have an ε, and under "
        "which; ≤ where not all of them are there. "
        if bounded
        else ""
    )
    unbounded = [attack for attack in alone if attack not in sizes]
    if unbounded:
        notes += (
            f"{', '.join(unbounded)}: without an ε, so what is left says little; see below how far "
            "they had to go. "
        )
    worst = [[worst_of(measured, bounded, defence) for defence in defences]] if bounded else []
    rows = _by_defence(
        defences,
        *(rated(measured, attack, defences, "accuracy") for attack in (BENIGN, *attacks)),
        *worst,
    )
    return Table(
        "Robust accuracy: the share of the images that the defended classifier gets right when "
        "they are attacked through the defence. First, the accuracy on benign images.",
        "defence",
        ["benign accuracy", *attacks, *(["worst attack"] if bounded else [])],
        rows,
        foot=[_counts(measured, attacks, "accuracy", behind=len(worst))],
        across="attack",
        notes=f"{notes}n: images. {BEST}{signs(rows)}",
    )


def distance(measured: Measurements, attacks: Sequence[str], defences: Sequence[str]) -> Table:
    """Return how far attacks without ε had to go through each defence.

    :param attacks: these attacks.
    """
    rows = _by_defence(defences, *(rated(measured, attack, defences, "l2") for attack in attacks))
    return Table(
        "How far attacks without ε had to go: the L2 norm of what they add to an image, mean over "
        "the successful adversarial examples. Through a better defence it is larger.",
        "defence",
        attacks,
        rows,
        across="attack",
        notes="In units of the range of pixels. An attack that gave up on some images (accuracy "
        f"above 0) counts the easier ones only. {BEST}{signs(rows)}",
    )


def curves(points: Sequence[Row], norm: Norm, defences: Sequence[str]) -> Table:
    """Return how accuracy falls with ε, under all attacks without an ε together.

    :param points: a row for each ε and defence.
    :param norm: the norm that ε is in.
    """
    sizes = sorted({row.eps for row in points})
    found = {(row.defence, row.eps): row for row in points}
    show = number(2)
    columns: list[list[Scored]] = []
    for size in sizes:
        rows_here = [found.get((defence, size)) for defence in defences]
        columns.append(
            [(math.nan, MISSING) if row is None else (row.value, show(row)) for row in rows_here]
        )
    rows = _by_defence(defences, *columns)
    n = ", ".join(sorted({f"{row.n:,}" for row in points}))
    return Table(
        f"Accuracy against ε in {norm.sign}, of images in [0, 1]: the share of the images for "
        f"which no attack without an ε has found a nearer adversarial example, n = {n}.",
        "defence",
        [f"{size:.3g}" for size in sizes],
        rows,
        across="ε",
        notes="Of all adaptive attacks without an ε together, also those that looked in another "
        f"norm; a stronger attack may leave less. {BEST}{signs(rows)}",
    )


def cascade(turns: Sequence[Row], suite: str, defences: Sequence[str]) -> Table:
    """Return what is left after each attack of a cascade.

    :param turns: a row for each attack and defence, the attacks in turn.
    """
    found = {(row.attack, row.defence): row for row in turns}
    empty = {row.defence: TableCell("") for row in turns}
    show = number(2)
    rows = [
        (
            attack.removeprefix(f"{suite}: "),
            [
                show(row) if (row := found.get((attack, name))) else empty.get(name, MISSING)
                for name in defences
            ],
        )
        for attack in _in_turn(turns)
    ]
    return Table(
        f"The cascade {suite!r}: the accuracy that an attack leaves, with all those before.",
        "after",
        defences,
        rows,
        across="defence",
        notes="An attack meets only the images that those before have left, so that it may break "
        "more where it comes first. Empty: the attack is not made for such a defence, or no image "
        "was left for it." + signs(rows),
    )


def _in_turn(turns: Sequence[Row]) -> list[str]:
    """Return the attacks of all defences in turn; not all of them fit all defences."""
    order: TopologicalSorter[str] = TopologicalSorter()
    for defence in dict.fromkeys(row.defence for row in turns):
        attacks = [row.attack for row in turns if row.defence == defence]
        order.add(attacks[0])
        for before, after in pairwise(attacks):
            order.add(after, before)
    return list(order.static_order())


def consistency(measured: Measurements, attacks: Sequence[str], defences: Sequence[str]) -> Table:
    """Return the TKNC of what the model sees."""
    rows = [
        (
            defence,
            [shown(measured, attack, defence, "tknc", number(2)) for attack in (BENIGN, *attacks)],
        )
        for defence in defences
    ]
    return Table(
        "Top-k neuron consistency (TKNC): how far the k most important neurons of what the model "
        "sees are those of the benign image, from 0 to 1; mean over the successful adversarial "
        "examples, and first over the benign images.",
        "defence",
        [BENIGN, *attacks],
        rows,
        across="attack",
        notes=signs(rows).strip(),
    )


def _compared(
    measured: Measurements, suite: str, defences: Sequence[str], metric: str, show: Show
) -> list[Scored]:
    """Return a comparison of each defence with none; no value of it is the best."""
    return [
        (
            math.nan,
            TableCell("") if defence == NONE else shown(measured, suite, defence, metric, show),
        )
        for defence in defences
    ]


def _by_defence(
    defences: Sequence[str], *columns: Sequence[Scored]
) -> list[tuple[str, list[TableCell]]]:
    """Return the rows of a table, with the best cells of each column marked."""
    marked = []
    for column in columns:
        printed = [round(value, 2) for value, _ in column]
        best = max((value for value in printed if not math.isnan(value)), default=None)
        marked.append(
            [
                replace(cell, best=value == best)
                for value, (_, cell) in zip(printed, column, strict=True)
            ]
        )
    return [
        (defence, [column[place] for column in marked]) for place, defence in enumerate(defences)
    ]


def _counts(
    measured: Measurements, attacks: Sequence[str], metric: str, behind: int
) -> tuple[str, list[TableCell]]:
    """Return the row of numbers of images behind the rates; they are the same for all defences.

    :param behind: the number of columns behind the attacks.
    """
    cells = []
    for attack, counted in ((BENIGN, "accuracy"), *((attack, metric) for attack in attacks)):
        numbers = [
            row.n
            for (other, _, kind), row in measured.items()
            if (other, kind) == (attack, counted)
        ]
        cells.append(TableCell(f"{max(numbers):,}") if numbers else MISSING)
    return "n", [*cells, *[TableCell("")] * behind]
