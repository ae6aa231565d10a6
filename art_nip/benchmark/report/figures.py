"""The figures of a report, as SVG that suits light and dark pages."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from art_nip import plots
from art_nip.benchmark.report.document import Picture
from art_nip.benchmark.report.results import Examples, Measurements, Sweep
from art_nip.benchmark.schema.rows import Row
from art_nip.benchmark.schema.words import Norm
from art_nip.utils.optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_DRAWN = 12
"""The largest number of attacks, and of defences, in a figure; more could not be told apart."""

STYLE = (
    ":root{--ink:#1f2328}"
    "@media (prefers-color-scheme:dark){:root{--ink:#e4e8ec}}"
    "@media print{:root{--ink:#000}}"
)


def rates(
    measured: Measurements,
    attacks: Sequence[str],
    defences: Sequence[str],
    metric: str,
    axis: str,
    setting: str,
) -> Picture | None:
    """Return a figure of a rate of each defence under each attack, or None if there is no rate.

    :param metric: which rate.
    :param axis: what it is called.
    :param setting: threat and protocol, for the caption.
    """
    shown, rest = _first(defences, "defences")
    values = {
        attack: {
            defence: _rate(row)
            for defence in shown
            if (row := measured.get((attack, defence, metric))) and not math.isnan(row.value)
        }
        for attack in attacks
    }
    values = {attack: found for attack, found in values.items() if found}
    if not values:
        return None
    drawn, more = _first(list(values), "attacks")
    values = {attack: values[attack] for attack in drawn}
    caption = (
        f"{axis} of each defence under each attack, with its 95\u00a0% interval; {setting}."
        f"{more}{rest}"
    )
    return _chart(plots.rates(values, defences, measure=axis), caption)


def sweep(
    measured: Measurements,
    attacks: Sweep,
    defences: Sequence[str],
    metric: str,
    axis: str,
    setting: str,
) -> Picture | None:
    """Return a figure of a rate of each defence against ε, or None if fewer than two ε have a rate.

    :param attacks: the attacks that differ by ε.
    :param metric: as in :func:`rates`, like the other parameters.
    """
    shown, rest = _first(defences, "defences")
    curves = {
        defence: [
            (size, _rate(row))
            for label, size in attacks.sizes.items()
            if (row := measured.get((label, defence, metric))) and not math.isnan(row.value)
        ]
        for defence in shown
    }
    if len({size for points in curves.values() for size, _ in points}) < 2:
        return None
    caption = f"{axis} of each defence against {attacks.name} of several sizes ε; {setting}.{rest}"
    return _chart(plots.sweep(curves, defences, measure=axis), caption)


def curves(
    points: Sequence[Row], norm: Norm, defences: Sequence[str], setting: str
) -> Picture | None:
    """Return a figure of the accuracy of each defence against ε, or None if it is 0 everywhere.

    :param points: a row for each ε and defence.
    :param norm: the norm that ε is in.
    :param setting: threat and protocol, for the caption.
    """
    shown, rest = _first(defences, "defences")
    drawn = {
        defence: [(row.eps, _rate(row)) for row in points if row.defence == defence]
        for defence in shown
    }
    if not any(row.value > 0 for row in points):
        return None
    caption = (
        f"Accuracy of each defence against ε in {norm.sign}, under all attacks without an ε "
        f"together; {setting}.{rest}"
    )
    return _chart(plots.sweep(drawn, defences, measure="Accuracy"), caption)


def examples(found: Examples, attacks: int) -> Picture:
    """Return a figure of a few images as attacks changed them.

    :param attacks: the number of attacks of the run.
    """
    more = _rest(len(found.adversarial), attacks, "attacks")
    figure = plots.adversarial_grid(
        found.benign, found.adversarial, channels_first=found.channels_first
    )
    return Picture(
        _svg(figure),
        "Benign images, and under each what the attacks made of it, whether they succeeded or not. "
        "Beside it the difference, grey where there is none, and amplified by the factor at the "
        "end of the row: ×1 would show a change over the whole range of pixels as black or white."
        f"{more}",
        f"{len(found.benign)} benign images, the same as each attack changed them, and the "
        f"amplified differences. Attacks: {', '.join(found.adversarial)}.",
    )


def _rate(row: Row) -> plots.Rate:
    return row.value, row.low, row.high


def _chart(figure: Figure, caption: str) -> Picture:
    return Picture(_svg(figure), caption, f"{caption} The numbers are in the table above.")


def _first(labels: Sequence[str], what: str) -> tuple[list[str], str]:
    """Return the labels that a figure draws, and a sentence about the others if there are any."""
    return list(labels[:MOST_DRAWN]), _rest(min(MOST_DRAWN, len(labels)), len(labels), what)


def _rest(drawn: int, of: int, what: str) -> str:
    return f" Drawn are the first {drawn} of {of} {what}." if drawn < of else ""


def _svg(figure: Figure) -> str:
    matplotlib = require("matplotlib", to="draw", install="art-nip[benchmark]")
    text = io.StringIO()
    # Without salt and date, the same results would make another file each time.
    with matplotlib.rc_context({"svg.hashsalt": "art-nip"}):
        figure.savefig(text, format="svg", dpi=150, transparent=True, metadata={"Date": None})
    style = '<style type="text/css">'
    return text.getvalue().replace(style, style + STYLE, 1).replace(plots.INK, "var(--ink)")
