"""The outputs of a layer as vectors, which can be compared whatever the image's contrast."""

import math

from art_nip.nip.neurons import ROUNDING
from art_nip.utils.arrays import Array, namespace

SLOPE_AT_ZERO = 1e-12
"""Added under roots, so that they have a slope at zero; it changes no root that matters."""


def neuron_vectors(maps: Array) -> Array:
    """Return outputs of a layer as vectors whose products are cosines.

    Of each value the square root is taken, with the value's sign, so that no few neurons decide.
    Then each channel's mean over space is removed, and the vector is divided by its length. If
    nothing but rounding is left, as with a layer that sees the same everywhere, the vector and its
    cosines are zero.

    :param maps: shape (N, C, *places), C channels.
    :return: shape (N, C·P) for P places in all, of length 1 or 0.
    """
    xp = namespace(maps)
    # Not the number of images, which graphs of TensorFlow do not know.
    maps = xp.reshape(maps, (-1, maps.shape[1], math.prod(maps.shape[2:])))
    # The sign times the root would not do: attacks need a slope at zero.
    roots = maps / xp.sqrt(xp.abs(maps) + SLOPE_AT_ZERO)
    centred = roots - xp.mean(roots, axis=2, keepdims=True)
    length, whole = _length(centred), _length(roots)
    varies = length > ROUNDING * whole
    vectors = xp.where(varies, centred / xp.where(varies, length, length + 1), centred * 0)
    return xp.reshape(vectors, (-1, maps.shape[1] * maps.shape[2]))


def _length(maps: Array) -> Array:
    xp = namespace(maps)
    return xp.sqrt(xp.sum(maps * maps, axis=(1, 2), keepdims=True))


def pooled(maps: Array, most: int) -> Array:
    """Return maps averaged over squares just so large that no more than `most` values are left.

    Places that do not fill a square at the right and the lower edge are left out. If one place for
    each channel is still too much, one place is left. Vectors stay as they are.

    :param maps: shape (N, C, *places).
    :param most: the largest number of values for one image.
    :return: shape (N, C, *fewer places).
    """
    places = tuple(maps.shape[2:])
    if len(places) < 2:
        return maps
    side = next(
        side
        for side in range(1, max(places) + 1)
        if side == max(places) or maps.shape[1] * math.prod(_left(places, side)) <= most
    )
    if side == 1:
        return maps
    left = _left(places, side)
    squares = [(count, min(side, size)) for count, size in zip(left, places, strict=True)]
    whole = [slice(None), slice(None), *(slice(count * of) for count, of in squares)]
    xp = namespace(maps)
    shape = (-1, maps.shape[1], *(size for square in squares for size in square))
    return xp.mean(xp.reshape(maps[tuple(whole)], shape), axis=tuple(range(3, len(shape), 2)))


def _left(places: tuple[int, ...], side: int) -> tuple[int, ...]:
    return tuple(size // min(side, size) for size in places)
