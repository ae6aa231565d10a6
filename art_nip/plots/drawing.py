"""Colours, types and the empty figure that all figures share."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from art_nip.utils.optional import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]

# Green and orange as in the paper's Fig. 2, in shades that the colour-blind can tell apart.
BENIGN = "#009e73"
ADVERSARIAL = "#d55e00"
INK = "#333333"
FAINT = "#8a8a8a"


def empty_figure(width: float, height: float, title: str) -> Figure:
    """Return an empty figure.

    :param width: width in inches.
    :param height: height in inches.
    :param title: heading; none if it is empty.
    :raises ImportError: if matplotlib is not installed.
    """
    # pyplot is not used: it may choose a backend with windows, and keeps every figure alive.
    module = require("matplotlib.figure", to="draw", install="art-nip[benchmark]")
    drawn: Figure = module.Figure(figsize=(width, height), dpi=150, layout="constrained")
    if title:
        drawn.suptitle(title, color=INK, size=11)
    return drawn


def text(name: str) -> str:
    """Return a name, wrapped into lines and escaped for matplotlib."""
    # matplotlib would read a pair of dollar signs as a formula.
    return textwrap.fill(name, 22).replace("$", r"\$")


def legend_below(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    """Write the names of what is drawn below all axes.

    :param handles: what a legend takes: lines, containers of error bars.
    :param names: the name of each.
    """
    figure.legend(
        handles,
        [text(name) for name in names],
        loc="outside lower center",
        ncols=min(4, len(names)),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )


def quiet_axes(axis: Axes, size: float = 9) -> None:
    """Draw axes in grey, without the lines above and to the right.

    :param size: of the labels of ticks.
    """
    axis.xaxis.label.set_color(INK)
    axis.yaxis.label.set_color(INK)
    axis.tick_params(labelcolor=INK, labelsize=size, length=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)
