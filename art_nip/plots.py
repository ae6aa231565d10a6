"""The pictures: images before and after attacks, what these do to neurons, and how defences fare.

Each function returns a matplotlib figure that no window shows and no global state remembers:
`figure.savefig("file.png")` writes it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from art_nip.nip.neurons import part_ends
from art_nip.utils.optional import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.floating[Any]]
Rate = tuple[float, float, float]  # value, and the lower and upper end of its interval

# Green and orange as in the paper's Fig. 2, in shades that the colour-blind can tell apart.
BENIGN = "#009e73"
ADVERSARIAL = "#d55e00"
INK = "#333333"
FAINT = "#8a8a8a"

# Grey for the baseline, then Okabe and Ito's colours that show on white and on black. There is one
# marker more than colours, so that a pair of them comes back after 56 defences only.
COLOURS = (FAINT, "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9")
MARKERS = "oDs^vPX*"


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


def rates(
    values: Mapping[str, Mapping[str, Rate]],
    defences: Sequence[str],
    *,
    measure: str = "DSR",
    title: str = "",
) -> Figure:
    """Draw what Fig. 7 of the paper compares: a rate of each defence under each attack.

    The attacks stand below one another, where long names have room.

    :param values: For each attack and defence the rate and its interval, all in [0, 1]. A defence
        that is missing under an attack, or NaN, has no point there.
    :param defences: All defences of the run. The place of a defence in it sets its colour and
        marker, so that they are the same in every figure; the first is the baseline, in grey.
    :param measure: What the rates are, for the axis.
    :param title: Heading.
    :raises ValueError: If there is no rate, or a defence that `defences` lacks.
    :raises ImportError: If matplotlib is not installed.
    """
    points: dict[str, list[tuple[float, Rate]]] = {}
    for place, rates_of in enumerate(values.values()):
        for defence, rate in rates_of.items():
            points.setdefault(defence, []).append((place, rate))
    drawn = _drawn(points, defences)
    figure = _figure(7.2, 1.3 + len(values) * (0.12 + 0.085 * len(drawn)), title)
    axis = figure.subplots()
    for place in range(1, len(values), 2):
        axis.axhspan(place - 0.5, place + 0.5, color=FAINT, alpha=0.12, linewidth=0)
    for turn, (defence, found) in enumerate(drawn.items()):
        shift = 0.8 * ((turn + 0.5) / len(drawn) - 0.5)
        places, middles, errors = _errors(found)
        style = _style(defence, defences)
        axis.errorbar(middles, places + shift, xerr=errors, linestyle="none", **style)
    axis.set(xlim=(-0.02, 1.02), ylim=(len(values) - 0.5, -0.5))
    axis.set_yticks(range(len(values)), [_text(attack) for attack in values])
    axis.set_xlabel(measure)
    axis.grid(axis="x", color=FAINT, alpha=0.35, linewidth=0.6)
    _finish(figure, axis, drawn)
    return figure


def sweep(
    curves: Mapping[str, Sequence[tuple[float, Rate]]],
    defences: Sequence[str],
    *,
    measure: str = "DSR",
    title: str = "",
) -> Figure:
    """Draw Fig. 8 of the paper: a rate of each defence against the size ε of the attack.

    :param curves: For each defence its points in any order: ε, and the rate with its interval, all
        in [0, 1]. NaN rates have no point.
    :param defences: As for :func:`rates`.
    :param measure: What the rates are, for the axis.
    :param title: Heading.
    :raises ValueError: If there is no rate, or a defence that `defences` lacks.
    :raises ImportError: If matplotlib is not installed.
    """
    drawn = _drawn(curves, defences)
    transforms = require("matplotlib.transforms", to="draw", install="art-nip[benchmark]")
    figure = _figure(7.2, 4.2, title)
    axis = figure.subplots()
    sizes = sorted({size for found in drawn.values() for size, _ in found})
    first, last = sizes[0], sizes[-1]
    if 0 < 8 * first < last:
        axis.set(xscale="log", xlim=(first / 1.15, last * 1.15))
    else:
        margin = 0.05 * (last - first) or 1
        axis.set(xlim=(first - margin, last + margin))
    for turn, (defence, found) in enumerate(drawn.items()):
        # A little beside one another, or the intervals would hide each other.
        points = 2 * (turn - (len(drawn) - 1) / 2)
        beside = transforms.ScaledTranslation(points / 72, 0, figure.dpi_scale_trans)
        places, middles, errors = _errors(sorted(found))
        style = _style(defence, defences) | {"transform": axis.transData + beside}
        axis.errorbar(places, middles, yerr=errors, linewidth=1.3, **style)
    axis.set(ylim=(-0.02, 1.02))
    axis.set_xticks(sizes, [f"{size:.3g}" for size in sizes])
    axis.set_xticks([], minor=True)
    axis.set_xlabel("size of the attack, ε")
    axis.set_ylabel(measure)
    axis.grid(axis="y", color=FAINT, alpha=0.35, linewidth=0.6)
    _finish(figure, axis, drawn)
    return figure


def adversarial_grid(
    benign: Floats,
    adversarial: Mapping[str, Floats],
    *,
    channels_first: bool = True,
    title: str = "",
) -> Figure:
    """Show a few images as each attack changes them, an attack a row under the benign images.

    Beside each adversarial image stands its difference from the benign one: grey where nothing
    changed, and amplified by the factor at the end of the row, the largest power of two that takes
    no change in the row beyond black or white.

    :param benign: Images, float in [0, 1], shape (N, *input_shape), one or three channels.
    :param adversarial: For each attack the attacked images, likewise.
    :param channels_first: Whether an image is (C, H, W) or (H, W, C).
    :param title: Heading.
    :raises ValueError: If there is no image or no attack, or the shapes do not match.
    :raises ImportError: If matplotlib is not installed.
    """
    shapes = {attack: images.shape for attack, images in adversarial.items()}
    if benign.ndim != 4 or not len(benign) or set(shapes.values()) != {benign.shape}:
        raise ValueError(
            "benign and the images of each attack must be of one shape, (N, *input_shape) with "
            f"three axes an image and N at least 1; got {benign.shape} and {shapes}."
        )
    originals = _channels_last(benign, channels_first)
    rows, columns = 1 + len(adversarial), 2 * len(benign)
    side = 5.2 / columns
    height = side * originals.shape[1] / originals.shape[2]
    figure = _figure(7.2, rows * (height + 0.06) + (0.4 if title else 0.1), title)
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
        largest = float(np.abs(change).max())
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


def _drawn(
    points: Mapping[str, Sequence[tuple[float, Rate]]], defences: Sequence[str]
) -> dict[str, list[tuple[float, Rate]]]:
    """Return the points that can be drawn of each defence that has any, in the run's order."""
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


def _errors(points: Sequence[tuple[float, Rate]]) -> tuple[Floats, Floats, Floats]:
    """Return places, rates, and how far the intervals reach below and above, as matplotlib asks."""
    places = np.array([place for place, _ in points], dtype=float)
    value, low, high = np.array([rate for _, rate in points], dtype=float).T
    # Numbers that were rounded in a table can put an interval's end on the wrong side.
    return places, value, np.maximum([value - low, high - value], 0)


def _style(defence: str, defences: Sequence[str]) -> dict[str, Any]:
    place = list(defences).index(defence)
    return {
        "color": COLOURS[place % len(COLOURS)],
        "marker": MARKERS[place % len(MARKERS)],
        "markersize": 4.5,
        "elinewidth": 1,
    }


def _finish(figure: Figure, axis: Axes, drawn: Mapping[str, Any]) -> None:
    handles: Any = axis.containers  # which a legend takes, though its type does not say so
    figure.legend(
        handles,
        [_text(defence) for defence in drawn],
        loc="outside lower center",
        ncols=min(4, len(drawn)),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )
    axis.xaxis.label.set_color(INK)
    axis.yaxis.label.set_color(INK)
    axis.tick_params(labelcolor=INK, labelsize=9, length=0)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)


def _beside(axis: Axes, heading: str) -> None:
    axis.annotate(
        _text(heading),
        (-0.08, 0.5),
        xycoords="axes fraction",
        ha="right",
        va="center",
        color=INK,
        size=9,
    )


def _text(name: str) -> str:
    # A pair of dollar signs would be read as a formula.
    return textwrap.fill(name, 22).replace("$", r"\$")


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
