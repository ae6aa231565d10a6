"""Images before and after attacks and defences."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from art_nip.plots.drawing import ADVERSARIAL, FAINT, INK, Floats, empty_figure, text
from art_nip.utils.validation import ROUNDING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    """Show images, one in a row: benign, adversarial, defended, and the inverse perturbation ρ.

    The true label stands beside each row and the predicted one over each image, with a cross where
    it is wrong.

    :param benign: images, float in [0, 1], shape (N, *input_shape), one or three channels.
    :param adversarial: the attacked images, likewise.
    :param defended: the attacked images after the defence, likewise.
    :param perturbations: ρ of equation 5 for each image, any range, same shape; colour images show
        its mean over the channels.
    :param labels: true class indices, shape (N,).
    :param predictions: predicted class indices, shape (N,), under "benign", "adversarial" and
        "defended".
    :param label_names: name of each class; by default its index.
    :param channels_first: whether an image is (C, H, W) or (H, W, C).
    :param title: heading.
    :raises ValueError: if there is no image, the shapes, the lengths or the keys do not match, or
        images are not in [0, 1].
    :raises ImportError: if matplotlib is not installed.
    """
    columns = {"benign": benign, "adversarial": adversarial, "defended": defended}
    _check_grid({**columns, "perturbations": perturbations}, labels, predictions)

    _check_unit(columns)
    rho = _channels_last(perturbations, channels_first).mean(axis=-1)
    limit = float(np.abs(rho).max()) or 1.0
    rows = len(benign)
    figure = empty_figure(6.4, 1.75 * rows + (1.0 if title else 0.6), title)
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
        # Headings stand above the tallest caption, which has two lines.
        axis.annotate(
            heading, (0.5, 1.32), xycoords="axes fraction", ha="center", color=INK, weight="bold"
        )
    scale = grid[-1, 3].inset_axes((0, -0.14, 1, 0.05))
    bar = figure.colorbar(drawn, cax=scale, orientation="horizontal")
    bar.set_ticks([-limit, 0, limit], labels=[f"−{limit:.2g}", "0", f"{limit:.2g}"])
    bar.outline.set_visible(False)
    scale.tick_params(length=0, labelcolor=INK, labelsize=8)
    return figure


def adversarial_grid(
    benign: Floats,
    adversarial: Mapping[str, Floats],
    *,
    channels_first: bool = True,
    title: str = "",
) -> Figure:
    """Show a few images as each attack changes them, one attack in a row, below the benign images.

    Beside each adversarial image stands its difference from the benign image: grey where nothing
    changed, and amplified by the factor at the end of the row, the largest power of two that takes
    no change in the row beyond black or white.

    :param benign: images, float in [0, 1], shape (N, *input_shape), one or three channels.
    :param adversarial: for each attack the attacked images, likewise.
    :param channels_first: whether an image is (C, H, W) or (H, W, C).
    :param title: heading.
    :raises ValueError: if there is no image or no attack, the shapes do not match, or images are
        not in [0, 1].
    :raises ImportError: if matplotlib is not installed.
    """
    shapes = {attack: images.shape for attack, images in adversarial.items()}
    if benign.ndim != 4 or not len(benign) or set(shapes.values()) != {benign.shape}:
        raise ValueError(
            "benign and the images of each attack must be of one shape, (N, *input_shape) with "
            f"three axes an image and N at least 1; got {benign.shape} and {shapes}."
        )
    _check_unit({"benign": benign, **adversarial})
    originals = _channels_last(benign, channels_first)
    rows, columns = 1 + len(adversarial), 2 * len(benign)
    side = 5.2 / columns
    height = side * originals.shape[1] / originals.shape[2]
    figure = empty_figure(7.2, rows * (height + 0.06) + (0.4 if title else 0.1), title)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axis in grid.flat:
        axis.axis("off")
    _beside(grid[0, 0], "benign")
    # Small images keep their pixels in a vector format, and large ones are scaled down.
    how = {
        "cmap": "gray",
        "vmin": 0,
        "vmax": 1,
        "interpolation": "none" if originals.shape[2] < 100 else "antialiased",
    }
    for axis, beside, image in zip(grid[0, ::2], grid[0, 1::2], originals, strict=True):
        axis.imshow(image, **how)
        beside.annotate(
            "difference", (0.5, 0), xycoords="axes fraction", ha="center", color=FAINT, size=8
        )
    for axes, (attack, images) in zip(grid[1:], adversarial.items(), strict=True):
        attacked = _channels_last(images, channels_first)
        change = attacked - originals
        largest = float(np.nanmax(np.abs(change), initial=0))
        factor = 2 ** max(0, math.floor(-math.log2(largest))) if largest else 1
        # Black and white are changes of -1 and 1.
        differences = (1 + factor * change) / 2
        for pair, shown in ((axes[::2], attacked), (axes[1::2], differences)):
            for axis, image in zip(pair, shown, strict=True):
                axis.imshow(image, **how)
        _beside(axes[0], attack)
        axes[-1].annotate(
            f"×{factor}" if largest else "no\nchange",
            (1.08, 0.5),
            xycoords="axes fraction",
            va="center",
            color=INK,
            size=9,
        )
    return figure


def _beside(axis: Axes, heading: str) -> None:
    axis.annotate(
        text(heading),
        (-0.08, 0.5),
        xycoords="axes fraction",
        ha="right",
        va="center",
        color=INK,
        size=9,
    )


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


def _check_unit(arrays: Mapping[str, Floats]) -> None:
    """Raise a ValueError for images outside [0, 1], which would be drawn in black and white."""
    for name, images in arrays.items():
        # Attacks may leave NaN behind, which is drawn as nothing.
        low, high = np.nanmin(images, initial=0), np.nanmax(images, initial=1)
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise ValueError(
                f"The images {name!r} range from {low:g} to {high:g}, and figures take those in "
                "[0, 1]: PixelRange.of(clip_values).unit(x) of art_nip.utils.ranges scales them."
            )


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
