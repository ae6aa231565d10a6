"""What every source of images ends in: a part of a data set, whose labels are known at once.

Its images are decoded only when it is known which are wanted: all of them may fill the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.data.labels import Labels
from art_nip.utils.optional import require

Images = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]
Pixels = npt.NDArray[Any]
"""One image, (height, width, 1 or 3), uint8 or floats in [0, 1]."""


@dataclass(frozen=True)
class Part:
    """Images that can be had, and their labels.

    :param source: what to call it in errors.
    :param labels: of all images, shape (N,).
    :param names: of the first classes; the others are called by their indices as text.
    :param read: from indices to the pixels of these images.
    """

    source: str
    labels: Labels
    names: Sequence[str]
    read: Callable[[Indices], Sequence[Pixels] | npt.NDArray[Any]]

    def first(self, limit: int | None) -> Indices:
        """Return the indices of the first `limit` images, or of all of them.

        :raises ValueError: if there is no image, or `limit` is not positive.
        """
        whole = isinstance(limit, Integral) and not isinstance(limit, bool)
        if limit is not None and not (whole and limit >= 1):
            raise ValueError(
                f"limit={limit!r}; give a whole number of at least 1, or None for all images."
            )
        if not len(self.labels):
            raise ValueError(f"{self.source} holds no image.")
        return np.arange(len(self.labels))[:limit]

    def arrays(
        self, indices: Indices, channels_first: bool, side: int | None = None
    ) -> tuple[Images, Labels, list[str]]:
        """Return images, labels and label names.

        :param indices: of the images wanted.
        :param channels_first: whether images are (C, H, W) or (H, W, C).
        :param side: height and width to bring the images to; None leaves them as they are.
        :raises ValueError: if the images are not all of one size.
        """
        pixels = self.read(indices)
        if side is not None:
            pixels = [fitted(image, side) for image in pixels]
        sizes = {image.shape[:2] for image in pixels}
        if len(sizes) > 1:
            raise ValueError(
                f"All images of {self.source} must have one size; got (height, width) "
                f"{', '.join(map(str, sorted(sizes)))}. Resize them first."
            )
        # Colour sets hold the odd greyscale file.
        channels = max(image.shape[2] for image in pixels)
        x = np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in pixels])
        whole_numbers = x.dtype == np.uint8
        if channels_first:
            x = np.moveaxis(x, -1, 1)
        scaled = np.ascontiguousarray(x, dtype=np.float32)
        if whole_numbers:
            scaled /= 255
        names = [*self.names, *map(str, range(len(self.names), self.labels.max() + 1))]
        return scaled, self.labels[indices], names


def fitted(pixels: Pixels, side: int) -> Pixels:
    """Return an image whose shorter side has `side` pixels, the ends of the longer one cut off.

    :param pixels: uint8 or floats; the dtype is kept.
    :param side: height and width of what is returned.
    """
    if pixels.shape[:2] == (side, side):
        return pixels
    pillow = require("PIL.ImageOps", to="resize images", install="art-nip[benchmark]")
    channels = [
        pillow.fit(
            pillow.Image.fromarray(channel.astype(np.float32)),
            (side, side),
            pillow.Image.Resampling.BILINEAR,
        )
        for channel in np.moveaxis(pixels, -1, 0)
    ]
    resized = np.stack([np.asarray(channel) for channel in channels], axis=-1)
    return (resized.round() if pixels.dtype == np.uint8 else resized).astype(pixels.dtype)
