"""Charts of how defences do: rates of success and their intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from art_nip.plots.drawing import FAINT, Floats, empty_figure, legend_below, quiet_axes, text
from art_nip.utils.optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rate = tuple[float, float, float]  # value, and the lower and upper end of its interval

# Grey for the baseline, then Okabe and Ito's colours that show on white and on black. There is one
# marker more than colours, so that a pair of them comes back after 56 defences only.
COLOURS = (FAINT, "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
MARKERS = "oDs^vPX*"
NO_DEFENCES: Mapping[str, str] = {}


def rates(
    values: Mapping[str, Mapping[str, Rate]],
    defences: Sequence[str],
    *,
    hollow: Mapping[str, str] = NO_DEFENCES,
    measure: str = "DSR",
    title: str = "",
) -> Figure:
    """Draw a rate of each defence under each attack, as Fig. 7 of the paper does.

    The attacks stand below one another, so that long names have room.

    :param values: for each attack and defence the rate and its interval, all in [0, 1]. A defence
        that is missing under an attack, or NaN, has no point there.
    :param defences: all defences of the run. The position of a defence in it sets its colour and
        marker, so that they are the same in every figure; the first is the baseline, in grey.
    :param hollow: from defences that are forms of others to these: they have the colour and marker
        of those, but hollow, and their lines are dashed.
    :param measure: what the rates are, for the axis.
    :param title: heading.
    :raises ValueError: if there is no rate, or a defence that `defences` lacks.
    :raises ImportError: if matplotlib is not installed.
    """
    points: dict[str, list[tuple[float, Rate]]] = {}
    for place, rates_of in enumerate(values.values()):
        for defence, rate in rates_of.items():
            points.setdefault(defence, []).append((place, rate))
    drawn = _drawn(points, defences)
    lines = max(text(attack).count("\n") + 1 for attack in values)
    row = max(0.12 + 0.085 * len(drawn), 0.05 + 0.14 * lines)
    figure = empty_figure(7.2, 1.3 + len(values) * row, title)
    axis = figure.subplots()
    for place in range(1, len(values), 2):
        axis.axhspan(place - 0.5, place + 0.5, color=FAINT, alpha=0.12, linewidth=0)
    for turn, (defence, found) in enumerate(drawn.items()):
        shift = 0.8 * ((turn + 0.5) / len(drawn) - 0.5)
        places, middles, errors = errors_of(found)
        style = _style(defence, defences, hollow) | {"linestyle": "none"}
        axis.errorbar(middles, places + shift, xerr=errors, **style)
    axis.set(xlim=(-0.02, 1.02), ylim=(len(values) - 0.5, -0.5))
    axis.set_yticks(range(len(values)), [text(attack) for attack in values])
    axis.set_xlabel(measure)
    axis.grid(axis="x", color=FAINT, alpha=0.35, linewidth=0.6)
    _finish(figure, axis, drawn)
    return figure


def sweep(
    curves: Mapping[str, Sequence[tuple[float, Rate]]],
    defences: Sequence[str],
    *,
    hollow: Mapping[str, str] = NO_DEFENCES,
    measure: str = "DSR",
    title: str = "",
) -> Figure:
    """Draw Fig. 8 of the paper: a rate of each defence against the size ε of the attack.

    :param curves: for each defence its points in any order: ε, and the rate with its interval, all
        in [0, 1]. NaN rates have no point.
    :param defences: as for :func:`rates`.
    :param hollow: as for :func:`rates`.
    :param measure: what the rates are, for the axis.
    :param title: heading.
    :raises ValueError: if there is no rate, or a defence that `defences` lacks.
    :raises ImportError: if matplotlib is not installed.
    """
    drawn = _drawn(curves, defences)
    transforms = require("matplotlib.transforms", to="draw", install="art-nip[benchmark]")
    figure = empty_figure(7.2, 4.2, title)
    axis = figure.subplots()
    sizes = sorted({size for found in drawn.values() for size, _ in found})
    first, last = sizes[0], sizes[-1]
    if 0 < 8 * first < last:
        axis.set(xscale="log", xlim=(first / 1.15, last * 1.15))
    else:
        margin = 0.05 * (last - first) or 1
        axis.set(xlim=(first - margin, last + margin))
    for turn, (defence, found) in enumerate(drawn.items()):
        # Points are shifted a little, or the intervals would hide each other.
        points = 2 * (turn - (len(drawn) - 1) / 2)
        beside = transforms.ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)
        places, middles, errors = errors_of(sorted(found))
        style = _style(defence, defences, hollow) | {"transform": axis.transData + beside}
        axis.errorbar(places, middles, yerr=errors, linewidth=1.3, **style)
    axis.set(ylim=(-0.02, 1.02))
    axis.set_xticks(sizes, [f"{size:.3g}" for size in sizes])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("size of the attack, ε")
    axis.set_ylabel(measure)
    axis.grid(axis="y", color=FAINT, alpha=0.35, linewidth=0.6)
    _finish(figure, axis, drawn)
    return figure


def _drawn(
    points: Mapping[str, Sequence[tuple[float, Rate]]], defences: Sequence[str]
) -> dict[str, list[tuple[float, Rate]]]:
    """Return the points to draw of each defence that has any, in the order of the run."""
    unknown = points.keys() - set(defences)
    if unknown:
        raise ValueError(
            f"defences must name every defence drawn, and lacks {', '.join(sorted(unknown))}."
        )
    found = {
        defence: [point for point in points.get(defence, ()) if not math.isnan(point[1][0])]
        for defence in defences
    }
    drawn = {defence: of for defence, of in found.items() if of}
    if not drawn:
        raise ValueError("There is nothing to draw: give at least one rate that is not NaN.")
    return drawn


def errors_of(points: Sequence[tuple[float, Rate]]) -> tuple[Floats, Floats, Floats]:
    """Return places, rates, and how far the intervals reach below and above, as matplotlib asks."""
    places = np.array([place for place, _ in points], dtype=float)
    value, low, high = np.array([rate for _, rate in points], dtype=float).reshape(-1, 3).T
    # In a table of rounded numbers, an end of an interval can be on the wrong side of the value.
    return places, value, np.maximum([value - low, high - value], 0)


def _style(defence: str, defences: Sequence[str], hollow: Mapping[str, str]) -> dict[str, Any]:
    place = list(defences).index(hollow.get(defence, defence))
    form = {"markerfacecolor": "white", "linestyle": "--"} if defence in hollow else {}
    return {
        **form,
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "markersize": 4.5,
        "elinewidth": 1,
    }


def _finish(figure: Figure, axis: Axes, drawn: Mapping[str, Any]) -> None:
    handles: Any = axis.containers  # which a legend takes, though its type does not say so
    legend_below(figure, handles, list(drawn))
    quiet_axes(axis)
