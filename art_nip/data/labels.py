"""What labels must be, checked alike whichever source they come from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]

MOST_CLASSES = 1_000_000
"""A class index from here on is not one: classes are counted from 0."""


def class_indices(values: Iterable[Any], source: str) -> Labels:
    """Return labels as class indices, int64, shape (N,).

    :param values: what a source has for labels, one for each image.
    :param source: what to call it in errors.
    :raises ValueError: if a label is missing, negative, a fraction or a text; the message says in
        which row, counted from 0.
    """
    indices = []
    for row, value in enumerate(values):
        problem = _problem(value)
        if problem:
            raise ValueError(
                f"{source}, row {row}: the label {problem}. Labels must be class indices, whole "
                "numbers from 0 on, of an integer type."
            )
        indices.append(int(value))
    return np.array(indices, np.int64)


def _problem(value: Any) -> str | None:
    if value is None:
        return "is missing (null)"
    if not isinstance(value, (int, np.integer)) or isinstance(value, bool):
        return f"is {value!s:.60} ({type(value).__name__})"
    if value < 0:
        return f"is {value}"
    if value >= MOST_CLASSES:
        return f"is {value}, which is no index of a class"
    return None
