"""Colour conversion for defences that treat luminance and colour separately."""

import numpy as np

from art_nip.utils.arrays import Array, namespace

TO_YCBCR = np.array(
    [
        [0.299, 0.587, 0.114],
        [-0.299 / 1.772, -0.587 / 1.772, 0.5],
        [0.5, -0.587 / 1.402, -0.114 / 1.402],
    ]
)
"""From RGB, as in JPEG, without the offsets of Cb and Cr, which would be undone on the way back."""


def mixed(matrix: Array, x: Array) -> Array:
    """Apply a matrix to the channels of images, shape (N, C, H, W).

    :param matrix: shape (C, C), in the framework and dtype and on the device of `x`.
    """
    xp = namespace(x)
    pixels = xp.reshape(x, (x.shape[0], x.shape[1], -1))
    return xp.reshape(xp.matmul(matrix, pixels), x.shape)


def check_grey_or_rgb(channels: int, channels_first: bool) -> None:
    """Raise a ValueError unless images have one channel or three."""
    if channels not in (1, 3):
        raise ValueError(
            f"Images have {channels} channels; 1 (grey) and 3 (RGB) are allowed. Check "
            f"channels_first={channels_first}."
        )
