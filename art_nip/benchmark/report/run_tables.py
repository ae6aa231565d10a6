"""The tables of a report on the run itself: what attacks reach, what all cost, what failed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from art_nip.benchmark.analysis.failures import Cause
from art_nip.benchmark.report.document import Table, TableCell
from art_nip.benchmark.report.results import Measurements
from art_nip.benchmark.report.scores import Show, number, shown, signs
from art_nip.benchmark.schema.description import AttackRecord, DefenceRecord
from art_nip.benchmark.schema.rows import Row
from art_nip.benchmark.schema.words import BENIGN


def strength(
    measured: Measurements,
    pairs: Mapping[str, tuple[str, str]],
    sizes: Mapping[str, float],
    caption: str,
    *,
    folded: bool = False,
) -> Table:
    """Return what attacks achieve and cost.

    :param pairs: the attack and the defence that it went through, by heading.
    :param sizes: ε of the attacks that have one.
    """
    metrics: dict[str, tuple[str, Show]] = {
        "images": ("accuracy", lambda row: TableCell(f"{row.n:,}")),
        "ASR": ("asr", number(2)),
        "accuracy left": ("accuracy", number(2)),
        "L2": ("l2", number(2)),
        "L∞": ("linf", number(3)),
        "PSNR, dB": ("psnr", number(1)),
        "s per image": ("seconds_per_image", _amount()),
        "forward passes per image": ("forward_passes", _amount()),
        "backward passes per image": ("backward_passes", _amount()),
    }
    rows = []
    for heading, (attack, defence) in pairs.items():
        size = TableCell(f"{sizes[attack]:.3g}" if attack in sizes else "")
        cells = [shown(measured, attack, defence, *metric) for metric in metrics.values()]
        rows.append((heading, [size, *cells]))
    return Table(
        caption,
        "attack",
        ["ε", *metrics],
        rows,
        notes="ASR: the share of the images classified right that the attack turns wrong. L2, L∞ "
        "and PSNR: means over the successful adversarial examples; the PSNR is that of what the "
        f"model sees.{signs(rows)}",
        folded=folded,
    )


def costs(measured: Measurements, defences: Sequence[str], caption: str) -> Table:
    """Return what it costs to classify a benign image through each defence."""
    metrics: dict[str, tuple[str, Show]] = {
        "ms per image": ("seconds_per_image", _amount(1000)),
        "forward passes per image": ("forward_passes", _amount()),
        "backward passes per image": ("backward_passes", _amount()),
    }
    rows = [
        (defence, [shown(measured, BENIGN, defence, *metric) for metric in metrics.values()])
        for defence in defences
    ]
    return Table(caption, "defence", [*metrics], rows, notes=signs(rows).strip())


def failures(causes: Sequence[Cause]) -> Table:
    """Return the causes of errors, one in a row, with the cells that each left empty."""
    return Table(
        "What raised an error. It is tried again when the benchmark is run again.",
        "cause",
        ["error", "cells", "which"],
        [
            (
                str(number),
                [TableCell(cause.error), TableCell(str(cause.n)), TableCell(cause.places)],
            )
            for number, cause in enumerate(causes, start=1)
        ],
        texts=True,
    )


def parameters(entries: Sequence[AttackRecord | DefenceRecord], corner: str) -> Table:
    """Return the attack or defence behind each label, with its parameters."""
    rows = []
    for entry in entries:
        given = [
            f"{name} = {f'{value:.6g}' if isinstance(value, float) else value}"
            for name, value in entry.parameters.items()
        ]
        if isinstance(entry, AttackRecord) and entry.limit is not None:
            given.append(f"at most {entry.limit} images")
        rows.append((entry.label, [TableCell(entry.name), TableCell(", ".join(given))]))
    return Table(f"The {corner}s, by label.", corner, ["is", "with"], rows, texts=True)


def _amount(factor: float = 1) -> Show:
    """Return a function that shows a positive number of any size, to at least three digits."""

    def show(row: Row) -> TableCell:
        value = factor * row.value
        decimals = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
        text = f"{value:,.{decimals}f}"
        return TableCell(text.rstrip("0").rstrip(".") if decimals else text)

    return show
