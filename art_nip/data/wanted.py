"""What images must be, and a check that says which batch and row are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.utils.arrays import to_numpy
from art_nip.utils.validation import check_images, check_shape, real_numbers

Images = npt.NDArray[Any]
"""Shape (N, *input_shape), uint8 or float32."""


@dataclass(frozen=True)
class Wanted:
    """What images and labels must be.

    :param input_shape: shape of one image.
    :param clip_values: range (min, max) of the images.
    :param nb_classes: number of classes.
    :param channels_first: whether the first axis of an image is that of its channels.
    """

    input_shape: tuple[int, ...]
    clip_values: tuple[Any, Any]
    nb_classes: int
    channels_first: bool

    @property
    def axes(self) -> int:
        """The number of axes of a batch of images."""
        return len(self.input_shape) + 1


def checked(x: Any, wanted: Wanted, place: Callable[[int], str], name: str | None = None) -> Images:
    """Return images as uint8 if they are so, and else as float32.

    :param x: images, a batch of them.
    :param wanted: what they must be.
    :param place: from a row to what to call it in errors.
    :param name: what to call the batch in errors; None if it needs no name.
    :raises TypeError: if they are no numbers.
    :raises ValueError: if they have another shape, leave the range, or are not finite.
    """
    try:
        images = plain(to_numpy(x))
        check_shape(images, wanted.input_shape)
    except (TypeError, ValueError) as error:
        if name is None:
            raise
        single = tuple(np.shape(x)) == wanted.input_shape
        hint = " Batch them: DataLoader(dataset, …), or dataset.batch(…)." if single else ""
        raise type(error)(f"{name}: {error}{hint}") from error
    try:
        check_images(images, wanted.input_shape, wanted.clip_values)
    except ValueError as error:
        row = next(row for row in range(len(images)) if _is_wrong(images[row : row + 1], wanted))
        raise ValueError(f"{place(row)}: {error}") from error
    return images


def _is_wrong(image: Images, wanted: Wanted) -> bool:
    try:
        check_images(image, wanted.input_shape, wanted.clip_values)
    except ValueError:
        return True
    return False


def plain(x: Any) -> Images:
    """Return images as uint8 if they are so, and else as float32."""
    images = real_numbers(x)
    return images if images.dtype == np.uint8 else images.astype(np.float32, copy=False)
