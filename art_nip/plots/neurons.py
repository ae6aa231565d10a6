"""Figures of the effect of attacks on neurons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from art_nip.nip.neurons import part_ends
from art_nip.plots.drawing import ADVERSARIAL, BENIGN, FAINT, INK, Floats, empty_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OUTLIERS = 0.002
"""The share of the values that may be cut off, as a few neurons would flatten all others."""

MARGIN = 0.1
"""The space above and below, as a share of the height."""


def influence_bars(
    pairs: Mapping[str, tuple[Floats, Floats]],
    *,
    fractions: Sequence[float] = (0.1, 0.3, 0.6),
    title: str = "",
    columns: int = 4,
    second: str = "adversarial",
) -> Figure:
    """Draw Fig. 2 of the paper: mean neuron influence, benign and attacked, one panel per attack.

    Each image's influence is divided by its largest absolute value, so that an image of which the
    model is unsure does not outweigh the rest. The neurons are sorted by their *mean* benign
    influence: sorted image by image, the highest would fall and the lowest rise in any second
    measurement, attack or not. A few neurons that stand out far are cut off.

    :param pairs: for each attack (its name is the panel's heading) the influence σ [1] of the
        benign images and that of their adversarial examples, each of shape (N, n), n at least 10.
    :param fractions: shares of the front, middle and tail part, which sum to 1 (definition 2).
    :param title: heading.
    :param columns: how many panels stand side by side.
    :param second: what the second of each pair is called.
    :raises ValueError: if there is no pair, or a pair is not two tables of the same neurons, of
        finite numbers.
    :raises ImportError: if matplotlib is not installed.
    """
    if not pairs:
        raise ValueError("pairs is empty: give at least one attack with its influences.")
    beside = min(columns, len(pairs))
    rows = -(-len(pairs) // beside)
    figure = empty_figure(3.6 * beside + 0.6, 2.8 * rows + (0.8 if title else 0.4), title)
    panels = figure.subplots(rows, beside, sharey=True, squeeze=False).ravel()
    for spare in panels[len(pairs) :]:
        spare.axis("off")
    means: list[Floats] = []
    for axis, (attack, (benign, adversarial)) in zip(panels, pairs.items(), strict=False):
        if benign.ndim != 2 or benign.shape[1:] != adversarial.shape[1:] or not len(benign):
            raise ValueError(
                f"{attack}: influences must be two tables (images, neurons) of the same neurons; "
                f"got shapes {benign.shape} and {adversarial.shape}."
            )
        if not (np.isfinite(benign).all() and np.isfinite(adversarial).all()):
            raise ValueError(
                f"{attack}: influences hold NaN or infinite values, which no bar can show. Leave "
                "out the images that have such."
            )
        before, after = _mean(benign), _mean(adversarial)
        _panel(axis, attack, before, after, fractions, second)
        means += [before, after]
    panels[0].set_ylim(*_limits(np.concatenate(means)))
    for first in panels[::beside]:
        first.set_ylabel("mean influence (normalised)", color=INK)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _panel(
    axis: Axes,
    heading: str,
    benign: Floats,
    adversarial: Floats,
    fractions: Sequence[float],
    second: str,
) -> None:
    order = np.argsort(-benign, kind="stable")
    ends = (0, *part_ends(len(order), fractions), len(order))
    # One of them light and one dark, for grey print.
    axis.stairs(benign[order], fill=True, color=BENIGN, alpha=0.4, label="benign")
    axis.stairs(adversarial[order], fill=True, color=ADVERSARIAL, alpha=0.85, label=second)
    for part, start, end in zip(("front", "middle", "tail"), ends, ends[1:], strict=False):
        axis.annotate(
            part,
            ((start + end) / 2, 0.98),
            xycoords=axis.get_xaxis_transform(),
            ha="center",
            va="top",
            size=8.5,
            color=FAINT,
        )
        if end < len(order):
            axis.axvline(end, color=FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
    axis.axhline(0, color=INK, linewidth=0.6)
    axis.set_title(heading, color=INK, size=10.5)
    axis.set(xlim=(0, len(order)), xticks=ends)
    axis.set_xlabel("neurons, by benign influence", color=INK)
    axis.tick_params(labelcolor=INK, labelsize=8, length=2)
    axis.spines[["top", "right"]].set_visible(False)


def _limits(means: Floats) -> tuple[float, float]:
    """Return limits between which all but a few single neurons lie, and 0, where bars begin."""
    low = min(0.0, float(np.quantile(means, OUTLIERS / 2, method="lower")))
    high = max(0.0, float(np.quantile(means, 1 - OUTLIERS / 2, method="higher")))
    margin = MARGIN * (high - low) or 1.0
    return low - margin, high + margin


def _mean(influence: Floats) -> Floats:
    largest = np.abs(influence).max(axis=1, keepdims=True)
    scaled = np.divide(influence, largest, out=np.zeros_like(influence), where=largest > 0)
    mean: Floats = scaled.mean(axis=0)
    return mean
