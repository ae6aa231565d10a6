"""Pictures of Pillow, whose pixels have a range only once it is said which."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from art_nip.data.decoding import as_shown, pixels

if TYPE_CHECKING:
    from art_nip.data.wanted import Wanted


class Pictures:
    """Some pictures.

    :param pictures: images of Pillow.
    """

    def __init__(self, pictures: list[Any]) -> None:
        self._pictures = pictures

    @staticmethod
    def are_in(value: Any) -> bool:
        """Return whether something is a list of pictures, some of which may be missing."""
        module = sys.modules.get("PIL.Image")
        if module is None or not isinstance(value, list):
            return False
        first = next((picture for picture in value if picture is not None), None)
        return isinstance(first, module.Image)

    def pixels(self, wanted: Wanted, name: str) -> npt.NDArray[Any]:
        """Return the pixels, in the range and in the order of axes that is wanted.

        :param wanted: what images must be.
        :param name: what to call the pictures in errors.
        :raises ValueError: if one is missing or can be read in several ways, they are not of one
            size, or pixels have no known place in the range.
        """
        low, high = wanted.clip_values
        if (low, high) not in ((0, 1), (0, 255)):
            raise ValueError(
                f"{name} holds pictures, of pixels from 0 to 255, and the clip_values are "
                f"{wanted.clip_values!r}: which values they have there is not said. Turn them into "
                "arrays first, as dataset.with_transform(…) does, or set clip_values=(0, 1)."
            )
        found = [
            _pixels(picture, f"{name}, row {row}") for row, picture in enumerate(self._pictures)
        ]
        sizes = {image.shape[:2] for image in found}
        if len(sizes) > 1:
            raise ValueError(
                f"{name} holds pictures of several sizes, (height, width) "
                f"{', '.join(map(str, sorted(sizes)))}. Resize them first."
            )
        channels = wanted.input_shape[0 if wanted.channels_first else -1]
        # Colour sets hold the odd greyscale file.
        images = np.stack(
            [
                np.broadcast_to(image, (*image.shape[:2], max(image.shape[2], channels)))
                if image.shape[2] == 1
                else image
                for image in found
            ]
        )
        if wanted.channels_first:
            images = np.moveaxis(images, -1, 1)
        return images if high == 255 else images.astype(np.float32) / np.float32(255)


def _pixels(picture: Any, place: str) -> npt.NDArray[np.uint8]:
    if picture is None:
        raise ValueError(f"{place}: the image is missing (null).")
    return pixels(as_shown(picture, place))
