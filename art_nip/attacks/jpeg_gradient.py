"""A gradient through JPEG compression, whose steps are made soft.

Shin and Song, "JPEG-resistant adversarial images", NIPS 2017 workshop on machine learning and
computer security, go back through a JPEG whose rounding has a gradient.
"""

from __future__ import annotations

from functools import cache
from io import BytesIO

import numpy as np
import numpy.typing as npt

from art_nip.utils.colour import TO_YCBCR
from art_nip.utils.dct import dct_matrix
from art_nip.utils.surrogates import Floats

BLOCK = 8
RGB = 3

Array = npt.NDArray[np.float64]


def of_soft_steps(x: npt.NDArray[np.floating]) -> Array:
    """Return the slope of x − sin(2πx) / 2π, which is rounding with soft steps.

    :param x: what is rounded to whole numbers.
    """
    slope: Array = 1 - np.cos(2 * np.pi * x)
    return slope


def compressed_gradient(levels: Floats, grad: Floats, quality: int) -> Floats:
    """Return the gradient to images that were compressed as JPEG and read again.

    Three channels are compressed as RGB, with the colours of 2×2 pixels for one; any other number
    one by one, as grey. What repeats the edge in the last blocks counts nothing.

    :param levels: images, shape (N, C, H, W), from 0 to 255.
    :param grad: the gradient to what was read, shape of levels.
    :param quality: of the file, from 1 to 100.
    """
    luminance, chrominance = step_tables(quality)
    x, back = levels.astype(np.float64), grad.astype(np.float64)
    if levels.shape[1] != RGB:
        found = _channel_gradient(x - 128, back, luminance, 1)
        return found.astype(np.float32)
    offsets = np.array([128.0, 0, 0]).reshape(1, RGB, 1, 1)
    x = np.einsum("ij,njhw->nihw", TO_YCBCR, x) - offsets
    back = np.einsum("ji,njhw->nihw", np.linalg.inv(TO_YCBCR), back)
    found = np.concatenate(
        [
            _channel_gradient(x[:, :1], back[:, :1], luminance, 1),
            _channel_gradient(x[:, 1:], back[:, 1:], chrominance, 2),
        ],
        axis=1,
    )
    return np.asarray(np.einsum("ji,njhw->nihw", TO_YCBCR, found), np.float32)


@cache
def step_tables(quality: int) -> tuple[Array, Array]:
    """Return the steps of the coefficients of luminance and of chrominance, shape (8, 8)."""
    from PIL import Image

    file = BytesIO()
    Image.new("RGB", (BLOCK, BLOCK)).save(file, format="jpeg", quality=quality)
    tables = Image.open(file).quantization  # type: ignore[attr-defined]
    first, second = (
        np.array(tables[number], np.float64).reshape(BLOCK, BLOCK) for number in (0, 1)
    )
    return first, second


def _channel_gradient(x: Array, grad: Array, steps: Array, pixels: int) -> Array:
    """Return the gradient to channels, of which `pixels` × `pixels` count as one."""
    n, channels, height, width = x.shape
    side = BLOCK * pixels
    rows, columns = (-(-size // side) * side for size in (height, width))
    more = [(0, 0), (0, 0), (0, rows - height), (0, columns - width)]
    small = (n, channels, rows // pixels, pixels, columns // pixels, pixels)
    means = np.pad(x, more, mode="edge").reshape(small).mean(axis=(3, 5))
    sums = np.pad(grad, more).reshape(small).sum(axis=(3, 5))
    dct = dct_matrix(BLOCK)
    quotients = dct @ _blocks(means) @ dct.T / steps
    back = dct.T @ (of_soft_steps(quotients) * (dct @ _blocks(sums) @ dct.T)) @ dct
    whole = back.swapaxes(3, 4).reshape(means.shape).repeat(pixels, axis=2).repeat(pixels, axis=3)
    found: Array = whole[:, :, :height, :width] / pixels**2
    return found


def _blocks(x: Array) -> Array:
    """Return blocks of images, shape (N, C, rows, columns, 8, 8)."""
    n, channels, height, width = x.shape
    cut = x.reshape(n, channels, height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return np.asarray(cut.swapaxes(3, 4))
