"""Panels of points with their intervals, in the colours and markers of `art_nip.plots`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from art_nip.plots import Rate
from art_nip.plots.charts import COLOURS, MARKERS, errors_of
from art_nip.plots.drawing import FAINT, INK, Floats, empty_figure, legend_below, quiet_axes, text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series = Mapping[str, Mapping[str, Rate]]
"""By series, then by place on the axis: value, and both ends of its interval."""


def dots(panels: Mapping[str, Series], measure: str, *, rate: bool = True) -> Figure:
    """Draw a panel for each heading: places stand below one another, values go to the right.

    :param measure: what the values are, for the axis.
    :param rate: whether the axis is that of a share, from 0 to 1.
    """
    places = list(dict.fromkeys(place for panel in panels.values() for place in _places(panel)))
    figure = empty_figure(0.9 + 3.2 * len(panels), 1.3 + 0.3 * len(places), "")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (heading, panel) in zip(axes, panels.items(), strict=True):
        for turn, (name, points) in enumerate(panel.items()):
            shift = 0.5 * ((turn + 0.5) / len(panel) - 0.5)
            at, value, error = _drawn(points, places)
            style = _style(turn)
            axis.errorbar(value, at + shift, xerr=error, linestyle="none", label=name, **style)
        axis.set(ylim=(len(places) - 0.5, -0.5))
        axis.set_yticks(range(len(places)), [text(place) for place in places])
        if rate:
            axis.set(xlim=(-0.03, 1.03))
        axis.set_xlabel(measure)
        axis.grid(axis="x", color=FAINT, alpha=0.35, linewidth=0.6)
        _finish(axis, heading)
    _legend(figure, axes)
    return figure


def lines(panels: Mapping[str, Series], along: str, measure: str) -> Figure:
    """Draw a panel for each heading: places stand side by side, and lines join a series' shares.

    :param along: what the places are, for the axis.
    :param measure: what the values are, for the axis.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = empty_figure(3.4 * columns + 0.6, 2.9 * rows + 0.5, "")
    axes = list(figure.subplots(rows, columns, sharey=True, squeeze=False).flat)
    for spare in axes[len(panels) :]:
        spare.axis("off")
    for axis, (heading, panel) in zip(axes, panels.items(), strict=False):
        places = list(_places(panel))
        for turn, (name, points) in enumerate(panel.items()):
            at, value, error = _drawn(points, places)
            # Points are shifted a little, or the intervals would hide each other.
            beside = at + 0.15 * (turn - (len(panel) - 1) / 2)
            axis.errorbar(beside, value, yerr=error, label=name, **_style(turn))
        longest = max(map(len, places), default=0)
        turned = {"rotation": 45, "ha": "right"} if longest > 4 else {}
        axis.set_xticks(range(len(places)), places, **turned)
        axis.set(ylim=(-0.03, 1.03))
        axis.set_xlabel(along)
        axis.grid(axis="y", color=FAINT, alpha=0.35, linewidth=0.6)
        _finish(axis, heading)
    axes[0].set_ylabel(measure, color=INK)
    _legend(figure, axes)
    return figure


def _places(panel: Series) -> list[str]:
    return list(dict.fromkeys(place for points in panel.values() for place in points))


def _drawn(points: Mapping[str, Rate], places: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    return errors_of([(places.index(place), rate) for place, rate in points.items()])


def _style(turn: int) -> dict[str, Any]:
    place = 1 + turn % (len(COLOURS) - 1)
    return {
        "color": COLOURS[place],
        "marker": MARKERS[turn % len(MARKERS)],
        "markersize": 5,
        "linewidth": 1.3,
        "elinewidth": 1,
    }


def _finish(axis: Axes, heading: str) -> None:
    axis.set_title(heading, color=INK, size=10.5)
    quiet_axes(axis, 8.5)


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    legend_below(figure, list(found.values()), list(found))
