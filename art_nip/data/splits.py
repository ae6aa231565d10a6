"""Disjoint parts of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split


def split(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    sizes: Sequence[int] = (3000, 1000, 1000),
    seed: int = 0,
) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Split a data set into disjoint parts, each shuffled and with the class balance of the whole.

    :param x: images, shape (N, ...).
    :param y: class indices, shape (N,).
    :param sizes: number of images in each part. What is left over is in none.
    :param seed: same seed, same parts.
    :return: one (images, labels) pair for each size.
    :raises ValueError: if the lengths differ, or the parts are too large together or too small to
        hold every class.
    """
    classes = len(np.unique(y))
    rest = len(y) - sum(sizes)
    if len(x) != len(y):
        raise ValueError(f"x and y must be equally long; got {len(x)} images, {len(y)} labels.")
    if not sizes or rest < 0 or min(sizes) < classes or 0 < rest < classes:
        raise ValueError(
            f"Each size must reach the number of classes ({classes}), and all together {len(y)} or "
            f"at most {len(y) - classes}; got {tuple(sizes)}, together {sum(sizes)}."
        )
    left = np.arange(len(y))
    parts = []
    for size in sizes:
        if size == len(left):
            taken = np.random.default_rng(seed).permutation(left)
        else:
            taken, left = train_test_split(
                left, train_size=size, random_state=seed, stratify=y[left]
            )
        parts.append((x[taken], y[taken]))
    return parts
