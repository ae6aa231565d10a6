"""Bicubic resizing with the anti-aliasing of MATLAB's `imresize` and of Pillow."""

from functools import cache

import numpy as np
import numpy.typing as npt


def resized(x: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.float32]:
    """Return resized images, float32, shape (N, C, height, width).

    Keys' kernel with a = −1/2, widened where the image shrinks. No pixels are assumed beyond the
    edges.

    :param x: images, float32, shape (N, C, H, W).
    """
    images: npt.NDArray[np.float32] = _matrix(x.shape[2], height) @ x @ _matrix(x.shape[3], width).T
    return images


@cache
def _matrix(size: int, new_size: int) -> npt.NDArray[np.float32]:
    """Return the matrix that resizes a vector, shape (new_size, size)."""
    scale = max(size / new_size, 1)
    centres = (np.arange(new_size) + 0.5) * size / new_size
    distances = np.abs(np.arange(size) + 0.5 - centres[:, None]) / scale
    weights = np.where(
        distances < 1,
        1 - 2.5 * distances**2 + 1.5 * distances**3,
        np.where(distances < 2, 2 - 4 * distances + 2.5 * distances**2 - 0.5 * distances**3, 0),
    )
    matrix: npt.NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return matrix.astype(np.float32)
