"""Encoded images as a viewer shows them, or a sentence that says why not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.utils.optional import require

SIXTEEN_BITS = ("I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes of greyscale images of 16 bits."""


class UnclearImageError(ValueError):
    """An image that could be read in more than one way."""


def decode(file: Any, place: str) -> npt.NDArray[np.uint8]:
    """Return an encoded image as pixels, shape (height, width, 1 or 3): 1 if it is greyscale.

    :param file: a path or an open file.
    :param place: what to call the image in errors: its file, or its file and row.
    :raises OSError: if there is none or it is damaged.
    :raises UnclearImageError: as of :func:`as_shown`.
    :raises ImportError: if Pillow is not installed.
    """
    images = require("PIL.Image", to="decode images", install="art-nip[benchmark]")
    try:
        with images.open(file) as image:
            return pixels(as_shown(image, place))
    except (UnclearImageError, MemoryError):
        raise
    # Each of Pillow's decoders has its own kinds of errors for what is damaged.
    except Exception as error:
        raise unreadable(place, error) from error


def unreadable(place: str, error: Exception) -> OSError:
    """Return the error for an image that is missing or damaged.

    :param place: what to call the image.
    :param error: what came of reading it.
    """
    return OSError(f"{place}: the image cannot be read, it is missing or damaged ({error}).")


def pixels(image: Any) -> npt.NDArray[np.uint8]:
    """Return the pixels of a Pillow image of mode L or RGB, shape (height, width, 1 or 3)."""
    values: npt.NDArray[np.uint8] = np.asarray(image)
    return values.reshape(*values.shape[:2], -1)


def as_shown(image: Any, place: str) -> Any:
    """Return a Pillow image as a viewer shows it: of mode L if it is greyscale, and RGB otherwise.

    It is turned as its EXIF data says, colours of a palette are looked up, and 16 bits of grey are
    rounded to 8. As Pillow does, 16 bits of a colour are cut to 8, and CMYK is converted without a
    colour profile.

    :param image: of any mode.
    :param place: what to call it in errors.
    :raises UnclearImageError: if it shows what is behind it, is animated, or has values of 32 bits,
        of which nobody knows which are black and white.
    """
    if getattr(image, "is_animated", False) and image.format != "MPO":  # of which one is shown
        raise UnclearImageError(
            f"{place}: the image holds {image.n_frames} frames, and which is meant is not said: "
            "save the one."
        )
    scaled = image.format in ("PNG", "PPM")  # whose values Pillow scales to 16 bits
    upright = require("PIL.ImageOps", to="turn images", install="art-nip[benchmark]")
    image = upright.exif_transpose(image)
    if image.mode in SIXTEEN_BITS or (image.mode == "I" and scaled):
        if np.any(np.asarray(image) == image.info.get("transparency", -1)):
            raise _transparent(place)
        return _eight_bits(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        raise UnclearImageError(
            f"{place}: the image has pixels of Pillow's mode {image.mode!r}, and which values are "
            "black and white is not said: save it with 8 or 16 bits a channel."
        )
    grey = image.mode in ("1", "L", "LA") or (image.mode == "P" and _has_grey_palette(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema()[0] < 255:
            raise _transparent(place)
    return image.convert("L" if grey else "RGB")


def _transparent(place: str) -> UnclearImageError:
    return UnclearImageError(
        f"{place}: the image is transparent in part, and what is behind it is not said: save it on "
        "a background, without an alpha channel."
    )


def _eight_bits(image: Any) -> Any:
    images = require("PIL.Image", to="decode images", install="art-nip[benchmark]")
    values = np.asarray(image).astype(np.float64)
    return images.fromarray(np.round(values / 257).astype(np.uint8))


def _has_grey_palette(image: Any) -> bool:
    colours = np.reshape(image.getpalette("RGB"), (-1, 3))
    return bool((colours == colours[:, :1]).all())
