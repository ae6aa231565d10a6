"""The 3×3 median filter of feature denoising, once for every framework."""

from __future__ import annotations

from art_nip.utils.arrays import Array, namespace


def median(x: Array, axes: tuple[int, int]) -> Array:
    """Return the median of each pixel and its eight neighbours, the edge repeated.

    It takes only minima and maxima, and so is differentiable: of three sorted columns the median
    lies between the largest of the low, the median of the middle and the smallest of the high
    pixels (Smith, 1996).

    :param x: array or tensor of any shape.
    :param axes: the axes of height and width, not negative.
    :return: medians, shape of `x`.
    """
    low, middle, high = _sorted(*_neighbours(x, axes[0]))
    lows, middles, highs = (_neighbours(rows, axes[1]) for rows in (low, middle, high))
    xp = namespace(x)
    largest = xp.maximum(xp.maximum(lows[0], lows[1]), lows[2])
    smallest = xp.minimum(xp.minimum(highs[0], highs[1]), highs[2])
    return _middle(largest, _middle(*middles), smallest)


def _neighbours(x: Array, axis: int) -> tuple[Array, Array, Array]:
    """Return, for each pixel, the pixel before it, the pixel itself, and the pixel after it."""
    before = [_cut(x, axis, None, 1), _cut(x, axis, None, -1)]
    after = [_cut(x, axis, 1, None), _cut(x, axis, -1, None)]
    xp = namespace(x)
    return xp.concat(before, axis=axis), x, xp.concat(after, axis=axis)


def _cut(x: Array, axis: int, start: int | None, stop: int | None) -> Array:
    index = (*(slice(None),) * axis, slice(start, stop))
    return x[index]


def _sorted(a: Array, b: Array, c: Array) -> tuple[Array, Array, Array]:
    xp = namespace(a)
    low, high = xp.minimum(a, b), xp.maximum(a, b)
    rest = xp.maximum(low, c)
    return xp.minimum(low, c), xp.minimum(rest, high), xp.maximum(rest, high)


def _middle(a: Array, b: Array, c: Array) -> Array:
    xp = namespace(a)
    return xp.maximum(xp.minimum(a, b), xp.minimum(xp.maximum(a, b), c))
