"""The discrete cosine transform as a matrix."""

from functools import cache

import numpy as np
import numpy.typing as npt


@cache
def dct_matrix(size: int) -> npt.NDArray[np.float64]:
    """Return the orthonormal DCT-II of a vector as a matrix, shape (size, size)."""
    frequency, position = np.mgrid[:size, :size]
    matrix = np.sqrt(2 / size) * np.cos(np.pi / size * (position + 0.5) * frequency)
    matrix[0] /= np.sqrt(2)
    return np.asarray(matrix)
