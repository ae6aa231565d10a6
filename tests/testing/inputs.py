"""Real images for preprocessors, and the names of the checks that they are put through."""

from typing import Any

import numpy as np
from sklearn.datasets import load_digits, load_sample_images

from art_nip.testing import preprocessor_checks

Array = np.ndarray[Any, np.dtype[Any]]
CHECKS = {check.__name__: check for check in preprocessor_checks()}
# Those that a preprocessor which draws random numbers cannot pass.
COMPARISONS = (
    "check_repeatable",
    "check_batch_of_one",
    "check_float64",
    "check_memory_layout",
    "check_params",
    "check_deepcopy",
    "check_pickle",
)


def digits() -> Array:
    """Four digits, grey, (4, 8, 8, 1)."""
    return (load_digits().images[:4, ..., None] / 16).astype(np.float32)


def crops() -> Array:
    """A roof, the sky and a petal, in colour, (3, 12, 12, 3)."""
    china, flower = load_sample_images().images
    pieces = [china[150:162, 300:312], china[10:22, 10:22], flower[200:212, 300:312]]
    return (np.stack(pieces) / 255).astype(np.float32)


def channels_first(x: Array) -> Array:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
