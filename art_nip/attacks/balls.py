"""Steps, starts and projections in the L∞ and the L2 ball around images in [0, 1]."""

from __future__ import annotations

from typing import Any

import numpy as np

from art_nip.attacks.base import Floats


def is_l2(norm: float | str) -> bool:
    """Return whether a norm, as ART calls it, is L2."""
    return norm in (2, "2")


def check_linf_or_l2(norm: Any) -> None:
    """Raise a ValueError unless a norm is L∞ or L2."""
    if isinstance(norm, bool) or norm not in (np.inf, "inf", 2, "2"):
        raise ValueError(f"norm={norm!r}; give np.inf or 2.")


def lengths(x: Floats) -> Floats:
    """Return the L2 norm of each image, in a shape that broadcasts to the images."""
    axes = tuple(range(1, x.ndim))
    found: Floats = np.sqrt(np.square(x, dtype=np.float64).sum(axis=axes, keepdims=True))
    return found


def unit_step(direction: Floats, norm: float | str) -> Floats:
    """Return steps of size 1 in a norm, the steepest along directions; 0 where these are 0.

    :param direction: gradients, shape (N, *input_shape).
    """
    step: Floats
    if not is_l2(norm):
        step = np.sign(direction)
        return step
    length = lengths(direction)
    step = (direction / np.where(length > 0, length, 1)).astype(np.float32)
    return step


def drawn(
    rng: np.random.Generator, shape: tuple[int, ...], eps: float, norm: float | str
) -> Floats:
    """Return points of the ball around 0, drawn uniformly in L∞, and in L2 by direction and length.

    :param shape: (N, *input_shape).
    """
    if not is_l2(norm):
        return rng.uniform(-eps, eps, shape).astype(np.float32)
    directions = unit_step(rng.standard_normal(shape, np.float32), norm)
    sizes = rng.uniform(0, eps, (shape[0], *(1,) * (len(shape) - 1)))
    return (sizes * directions).astype(np.float32)


def within_ball(moved: Floats, x: Floats, eps: float, norm: float | str) -> Floats:
    """Return images projected onto the ball around others, and clipped to [0, 1]."""
    if is_l2(norm):
        added = moved - x
        near = x + added * np.minimum(1, eps / np.maximum(lengths(added), 1e-12))
    else:
        near = np.clip(moved, x - np.float32(eps), x + np.float32(eps))
    clipped: Floats = np.clip(near, 0, 1).astype(np.float32)
    return clipped
