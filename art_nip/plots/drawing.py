"""What all figures share: colours, types, and a figure that no window shows."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from art_nip.utils.optional import require

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]

# Green and orange as in the paper's Fig. 2, in shades that the colour-blind can tell apart.
BENIGN = "#009e73"
ADVERSARIAL = "#d55e00"
INK = "#333333"
FAINT = "#8a8a8a"


def empty_figure(width: float, height: float, title: str) -> Figure:
    """Return an empty figure.

    :param width: in inches.
    :param height: in inches.
    :param title: heading; none if it is empty.
    :raises ImportError: if matplotlib is not installed.
    """
    # Not pyplot, which would choose a backend, maybe one with windows, and keep every figure alive.
    module = require("matplotlib.figure", to="draw", install="art-nip[benchmark]")
    drawn: Figure = module.Figure(figsize=(width, height), dpi=150, layout="constrained")
    if title:
        drawn.suptitle(title, color=INK, size=11)
    return drawn


def text(name: str) -> str:
    """Return a name, in lines, as matplotlib shows it."""
    # A pair of dollar signs would be read as a formula.
    return textwrap.fill(name, 22).replace("$", r"\$")
