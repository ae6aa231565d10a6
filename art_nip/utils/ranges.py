"""Images in units of their range, 0 at its low end and 1 at its high end: the method's own unit.

What is a share of a range, or a mean of brightness, must not depend on how a user's images are
scaled: [0, 1], [0, 255], [-1, 1] and standardised images are the same pictures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from art_nip.utils.arrays import Array


def _float32(bound: Any) -> Array:
    return np.asarray(bound, np.float32)


@dataclass(frozen=True)
class PixelRange:
    """The range of images, as arrays or tensors that broadcast to an image.

    :param low: the low end, of all values or of those of a channel.
    :param span: high end minus low end, likewise.
    :param high: the high end itself, which low end plus span may miss by a rounding.
    """

    low: Array
    span: Array
    high: Array

    @classmethod
    def of(
        cls, clip_values: tuple[Any, Any], convert: Callable[[Any], Array] = _float32
    ) -> PixelRange:
        """Return the range of images.

        :param clip_values: (min, max), numbers, arrays or nested lists of numbers.
        :param convert: makes an array or a tensor of one of them.
        """
        low, high = convert(clip_values[0]), convert(clip_values[1])
        return cls(low, high - low, high)

    def unit(self, images: Array) -> Array:
        """Return images in [0, 1], whatever their own range.

        :param images: shape (N, *input_shape), in the range.
        """
        return (images - self.low) / self.span

    def pixels(self, unit: Array) -> Array:
        """Return images in the range, from images in [0, 1].

        :param unit: shape (N, *input_shape).
        """
        return unit * self.span + self.low


def same_range(one: tuple[Any, Any], other: tuple[Any, Any]) -> bool:
    """Return whether two `clip_values` are the same range, but for rounding to float32.

    :param one: (min, max), numbers, arrays or nested lists of numbers.
    :param other: likewise.
    """
    pairs = zip(one, other, strict=True)
    return all(np.allclose(_float32(a), _float32(b), rtol=1e-6, atol=0) for a, b in pairs)


def check_range_of(clip_values: tuple[Any, Any], input_shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless a range suits images of a shape.

    :param clip_values: (min, max), numbers, arrays or nested lists of numbers.
    :param input_shape: shape of one image.
    """
    for bound in clip_values:
        shape = np.shape(bound)
        # A batch has one more axis in front; bounds may have it too, with length 1.
        fits = len(shape) <= len(input_shape) + 1 and all(
            size in (1, of) for size, of in zip(shape[::-1], (*input_shape[::-1], 1), strict=False)
        )
        if not fits:
            channels = "(C, 1, 1) with channels first, (C,) with channels last"
            raise ValueError(
                f"clip_values of shape {shape} do not broadcast to images of shape {input_shape}. "
                f"Give numbers, or one for each channel in an array of shape {channels}."
            )
