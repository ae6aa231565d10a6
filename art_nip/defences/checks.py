"""Checks of a classifier and of the range of its images, for defences."""

from __future__ import annotations

from typing import Any

import numpy as np


def channels_first(classifier: Any) -> bool:
    """Return whether a classifier takes images of (C, H, W); black-box classifiers do not say."""
    shape = classifier.input_shape
    return bool(getattr(classifier, "channels_first", shape[0] < shape[-1]))


def check_range(clip_values: Any) -> None:
    """Raise a ValueError unless `clip_values` are (min, max): finite numbers or arrays of them."""
    try:
        low, high = (np.asarray(bound) for bound in clip_values)
        numbers = all(np.issubdtype(bound.dtype, np.number) for bound in (low, high))
        fits = numbers and bool((-np.inf < low).all() and (low < high).all())
        fits = fits and bool((high < np.inf).all())
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"clip_values={clip_values!r}; give two numbers (min, max) with min below max, or two "
            "arrays that broadcast to an image."
        )
