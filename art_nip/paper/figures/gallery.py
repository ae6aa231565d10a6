"""Images in columns, with what the classifier takes them for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from art_nip.data import Images
from art_nip.paper.subjects import Loaded
from art_nip.plots.drawing import ADVERSARIAL, INK, empty_figure, text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gallery(
    columns: Mapping[str, Images],
    headings: Sequence[str],
    subject: Loaded,
    maps: Mapping[str, Images] | None = None,
) -> Figure:
    """Return a figure with an image in each row and column, and its predicted class over it.

    :param columns: for each column one image for each row, float32 in [0, 1].
    :param headings: what stands beside the rows.
    :param subject: whose first images the rows are of.
    :param maps: by column, for each row a map in [0, 1] of the image's height and width, which is
        laid over the image; None for none.
    """
    rows = len(headings)
    figure = empty_figure(1.5 * len(columns) + 0.9, 1.7 * rows + 0.5, subject.label)
    grid = figure.subplots(rows, len(columns), squeeze=False)
    for place, (name, images) in enumerate(columns.items()):
        predicted = subject.classifier.predict(images).argmax(axis=1)
        shown = np.moveaxis(images, 1, -1) if subject.classifier.channels_first else images
        for row, axis in enumerate(grid[:, place]):
            axis.imshow(np.clip(shown[row], 0, 1), cmap="gray", vmin=0, vmax=1)
            if maps is not None:
                axis.imshow(maps[name][row], cmap="inferno", alpha=0.55, vmin=0, vmax=1)
            right = predicted[row] == subject.y[row]
            label = text(subject.label_names[predicted[row]])
            axis.set_title(
                label if right else f"✗ {label}",
                size=7.5,
                color=INK if right else ADVERSARIAL,
                weight="normal" if right else "bold",
                pad=2,
            )
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_color("#cccccc")
            if row == rows - 1:
                axis.set_xlabel(name, color=INK, size=9)
    for axis, heading in zip(grid[:, 0], headings, strict=True):
        axis.set_ylabel(text(heading), color=INK, size=9)
    return figure
