"""Attack libraries that tests use beside ART, and how alike what their attacks leave is."""

import sys
from types import ModuleType
from typing import Any

import numpy as np
from scipy.stats import binomtest


def adv_lib_attacks() -> Any:
    """Return `adv_lib.attacks`, whose import asks for two packages that no attack here uses.

    They are torchvision, for the weights of a perceptual distance, which brings another PyTorch
    along, and visdom, for curves, which does not build without setuptools of before 2025.
    """
    missing = [name for name in ("torchvision", "visdom") if name not in sys.modules]
    for name in missing:
        sys.modules[name] = ModuleType(name)
    if "torchvision" in missing:
        sys.modules["torchvision"].models = None  # type: ignore[attr-defined]
    try:
        import adv_lib.attacks

        return adv_lib.attacks
    finally:
        for name in missing:
            del sys.modules[name]


def chance_of(left: np.ndarray, other: np.ndarray) -> float:
    """Return how probable it is that two attacks, equally strong, differ on so many images.

    That is McNemar's exact test: of the images on which only one of two attacks succeeds, each has
    as many as the other but for chance.

    :param left: which images an attack leaves right, bool, shape (N,).
    :param other: the same of another attack on the same images.
    """
    only, others = int((left & ~other).sum()), int((other & ~left).sum())
    return float(binomtest(only, only + others).pvalue) if only + others else 1.0
