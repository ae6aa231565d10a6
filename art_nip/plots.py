"""The pictures: images through attack and defence side by side, and what an attack does to neurons.

Each function returns a matplotlib figure that no window shows and no global state remembers:
`figure.savefig("file.png")` writes it.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from art_nip.data import require
from art_nip.neurons import part_ends

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]

# Green and orange as in the paper's Fig. 2, in shades that the colour-blind can tell apart.
BENIGN = "#009e73"
ADVERSARIAL = "#d55e00"
INK = "#333333"
FAINT = "#8a8a8a"


def image_grid(
    benign: Floats,
    adversarial: Floats,
    defended: Floats,
    perturbations: Floats,
    *,
    labels: Sequence[int] | npt.NDArray[np.integer[Any]],
    predictions: Mapping[str, Sequence[int] | npt.NDArray[np.integer[Any]]],
    label_names: Sequence[str] | None = None,
    channels_first: bool = True,
    title: str = "",
) -> Figure:
    """Show images, one a row: benign, adversarial, defended, and the inverse perturbation ρ added.

    The true label stands beside each row and the predicted one over each image, with a cross where
    it is wrong.

    :param benign: Images, float in [0, 1], shape (N, *input_shape), one or three channels.
    :param adversarial: The attacked images, likewise.
    :param defended: The attacked images after the defence, likewise.
    :param perturbations: ρ of equation 5 for each image, any range, same shape; colour images show
        its mean over the channels.
    :param labels: True class indices, shape (N,).
    :param predictions: Predicted class indices, shape (N,), under "benign", "adversarial" and
        "defended".
    :param label_names: Name of each class; by default its index.
    :param channels_first: Whether an image is (C, H, W) or (H, W, C).
    :param title: Heading.
    :raises ValueError: If there is no image or the shapes, the lengths or the keys do not match.
    :raises ImportError: If matplotlib is not installed.
    """
    columns = {"benign": benign, "adversarial": adversarial, "defended": defended}
    _check_grid({**columns, "perturbations": perturbations}, labels, predictions)

    rho = _channels_last(perturbations, channels_first).mean(axis=-1)
    limit = float(np.abs(rho).max()) or 1.0
    rows = len(benign)
    figure = _figure(6.4, 1.75 * rows + (1.0 if title else 0.6), title)
    grid = figure.subplots(rows, 4, squeeze=False)
    for row, axes in enumerate(grid):
        true = int(labels[row])
        for axis, (column, images) in zip(axes, columns.items(), strict=False):
            image = _channels_last(images, channels_first)[row]
            axis.imshow(image, cmap="gray", vmin=0, vmax=1)
            _caption(axis, int(predictions[column][row]), true, label_names)
        axes[0].set_ylabel(f"true: {_name(true, label_names)}", size=9, color=INK)
        drawn = axes[3].imshow(rho[row], cmap="RdBu_r", vmin=-limit, vmax=limit)
        for axis in axes:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_color("#cccccc")
    for axis, heading in zip(grid[0], (*columns, "perturbation ρ"), strict=True):
        # Above the tallest caption, which has two lines.
        axis.annotate(
            heading, (0.5, 1.32), xycoords="axes fraction", ha="center", color=INK, weight="bold"
        )
    scale = grid[-1, 3].inset_axes((0, -0.14, 1, 0.05))
    bar = figure.colorbar(drawn, cax=scale, orientation="horizontal")
    bar.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"{limit:.2g}"])
    bar.outline.set_visible(False)
    scale.tick_params(length=0, labelcolor=INK, labelsize=8)
    return figure


def influence_bars(
    pairs: Mapping[str, tuple[Floats, Floats]],
    *,
    fractions: Sequence[float] = (0.1, 0.3, 0.6),
    title: str = "",
) -> Figure:
    """Draw Fig. 2 of the paper: mean neuron influence when benign and attacked, a panel an attack.

    Each image's influence is divided by its largest absolute value, so that an image of which the
    model is unsure does not outweigh the rest. The neurons are sorted by their *mean* benign
    influence: sorted image by image, the highest would fall and the lowest rise in any second
    measurement, attack or not.

    :param pairs: For each attack (its name is the panel's heading) the influence σ [1] of the
        benign images and that of their adversarial examples, each of shape (N, n), n at least 10.
    :param fractions: Shares of the front, middle and tail part, which sum to 1 (definition 2).
    :param title: Heading.
    :raises ValueError: If there is no pair, or a pair is not two tables of the same neurons.
    :raises ImportError: If matplotlib is not installed.
    """
    if not pairs:
        raise ValueError("pairs is empty: give at least one attack with its influences.")
    figure = _figure(3.6 * len(pairs) + 0.6, 3.6 if title else 3.2, title)
    panels = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
    for axis, (attack, (benign, adversarial)) in zip(panels, pairs.items(), strict=True):
        if benign.ndim != 2 or benign.shape[1:] != adversarial.shape[1:] or not len(benign):
            raise ValueError(
                f"{attack}: influences must be two tables (images, neurons) of the same neurons; "
                f"got shapes {benign.shape} and {adversarial.shape}."
            )
        _panel(axis, attack, _mean(benign), _mean(adversarial), fractions)
    panels[0].set_ylabel("mean influence (normalised)", color=INK)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False)
    return figure


def _panel(
    axis: Axes, heading: str, benign: Floats, adversarial: Floats, fractions: Sequence[float]
) -> None:
    order = np.argsort(-benign, kind="stable")
    ends = (0, *part_ends(len(order), fractions), len(order))
    ranks = np.arange(len(order)) + 0.5
    axis.bar(ranks, benign[order], width=1, color=BENIGN, alpha=0.55, label="benign")
    axis.bar(ranks, adversarial[order], width=1, color=ADVERSARIAL, alpha=0.8, label="adversarial")
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


def _mean(influence: Floats) -> Floats:
    largest = np.abs(influence).max(axis=1, keepdims=True)
    scaled = np.divide(influence, largest, out=np.zeros_like(influence), where=largest > 0)
    mean: Floats = scaled.mean(axis=0)
    return mean


def _figure(width: float, height: float, title: str) -> Figure:
    # Not pyplot, which would choose a backend, maybe one with windows, and keep every figure alive.
    module = require("matplotlib.figure", to="draw", install="art-nip[benchmark]")
    figure: Figure = module.Figure(figsize=(width, height), dpi=150, layout="constrained")
    if title:
        figure.suptitle(title, color=INK, size=11)
    return figure


def _caption(axis: Axes, predicted: int, true: int, label_names: Sequence[str] | None) -> None:
    name = _name(predicted, label_names)
    if predicted == true:
        axis.set_title(name, size=9, color=INK, pad=3)
    else:
        axis.set_title(f"✗ {name}", size=9, color=ADVERSARIAL, weight="bold", pad=3)


def _name(label: int, label_names: Sequence[str] | None) -> str:
    return str(label) if label_names is None else textwrap.fill(label_names[label], 18)


def _channels_last(images: Floats, channels_first: bool) -> Floats:
    return np.moveaxis(images, 1, -1) if channels_first else images


def _check_grid(
    arrays: Mapping[str, Floats],
    labels: Sequence[int] | npt.NDArray[np.integer[Any]],
    predictions: Mapping[str, Sequence[int] | npt.NDArray[np.integer[Any]]],
) -> None:
    shapes = {name: array.shape for name, array in arrays.items()}
    first = shapes["benign"]
    if len(set(shapes.values())) > 1 or len(first) != 4 or first[0] == 0:
        raise ValueError(
            "benign, adversarial, defended and perturbations must be images of one shape, "
            f"(N, *input_shape) with three axes an image and N at least 1; got {shapes}."
        )
    needed = ("benign", "adversarial", "defended")
    lengths = {name: len(predictions[name]) for name in needed if name in predictions}
    if lengths != dict.fromkeys(needed, first[0]) or len(labels) != first[0]:
        raise ValueError(
            f"labels and the predictions {', '.join(needed)} must have one entry for each of "
            f"{first[0]} images; got {len(labels)} labels and predictions {lengths}."
        )
