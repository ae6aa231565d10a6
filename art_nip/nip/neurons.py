"""The paper's maths on neurons and images, once for every framework.

Arrays are NumPy, PyTorch or TensorFlow; they stay on their device. N images, n neurons. Numbers in
brackets are equations of the paper (Chen et al., "NIP: Neuron-level Inverse Perturbation Against
Adversarial Attacks").
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from art_nip.utils.arrays import Array, namespace
from art_nip.utils.ranges import PixelRange

ROUNDING = 1e-4
"""Values that vary by no more than this share of the largest are constant but for rounding."""


TINY = 2e-38
"""Added to a divisor that may be 0, of what is 0 then too. In numbers above 1e-30 it is lost."""


class Parts(NamedTuple):
    """Masks of the front, middle and tail neurons (definition 2), each of shape (N, n)."""

    front: Array
    middle: Array
    tail: Array


def part_ends(n: int, fractions: Sequence[float]) -> tuple[int, int]:
    """Return the ranks at which the front part and the middle part end.

    :param n: number of neurons, at least 10.
    :param fractions: shares of the front, middle and tail part; they sum to 1.
    :raises ValueError: if there are fewer than 10 neurons.
    """
    if n < 10:
        raise ValueError(
            f"The layer has {n} neurons; NIP needs at least 10 to have a front, a middle and a "
            "tail. Choose a wider layer."
        )
    front, middle, _ = fractions
    return round(front * n), round((front + middle) * n)


def ranks(influence: Array) -> Array:
    """Return each neuron's rank by influence, descending from 0; ties rank by index.

    :param influence: σ, shape (N, n).
    :return: integers of shape (N, n).
    """
    xp = namespace(influence)
    order = xp.argsort(influence, axis=-1, descending=True, stable=True)
    return xp.argsort(order, axis=-1)


def front_middle_tail(influence: Array, fractions: Sequence[float]) -> Parts:
    """Divide the neurons of each image by rank of influence (definition 2).

    :param influence: σ, shape (N, n), n at least 10.
    :param fractions: shares of the three parts; they sum to 1.
    """
    front_end, middle_end = part_ends(influence.shape[-1], fractions)
    rank = ranks(influence)
    return Parts(rank < front_end, (rank >= front_end) & (rank < middle_end), rank >= middle_end)


def middle_influence(influence: Array, fractions: Sequence[float]) -> Array:
    """Return influence on each image's middle neurons (Ω_m), zero elsewhere.

    :param influence: σ, shape (N, n).
    :param fractions: shares of the three parts.
    """
    xp = namespace(influence)
    middle = front_middle_tail(influence, fractions).middle
    return xp.where(middle, influence, xp.zeros_like(influence))


def similarity(middle: Array, template: Array) -> Array:
    """Return δ [3], the cosine of middle influence and the neuron template; 0 if either is zero.

    :param middle: middle influence, shape (N, n).
    :param template: T, shape (n,).
    :return: shape (N,), between -1 and 1.
    """
    return similarity_to(template)(middle)


def similarity_to(template: Array) -> Callable[[Array], Array]:
    """Return the function from middle influence to its :func:`similarity` to a template.

    :param template: T, shape (n,).
    """
    xp = namespace(template)
    template = _of_length_one(template)
    return lambda middle: xp.sum(_of_length_one(middle) * template, axis=-1)


def _of_length_one(vectors: Array) -> Array:
    """Return vectors divided by their norms; those that are zero stay zero."""
    norm = namespace(vectors).linalg.vector_norm
    # Influence is tiny where the model is sure. It is scaled first, so that its squares do not
    # underflow.
    scaled = vectors / (norm(vectors, axis=-1, keepdims=True, ord=math.inf) + TINY)
    return scaled / (norm(scaled, axis=-1, keepdims=True) + TINY)


def perturbation_weights(influence: Array, k1: int, k2: int) -> Array:
    """Return w with ⟨w, φ⟩ = loss [4]: 1 on the k1 first neurons, -1 on the k2 last.

    :param influence: σ, shape (N, n).
    :param k1: number of front neurons to strengthen.
    :param k2: number of tail neurons to weaken.
    :return: shape (N, n), dtype of `influence`.
    """
    xp, rank, n = namespace(influence), ranks(influence), influence.shape[-1]
    front, tail = rank < k1, rank >= n - k2
    return xp.astype(front, influence.dtype) - xp.astype(tail, influence.dtype)


def normalised(perturbation: Array) -> Array:
    """Return ρ divided by its range per image, as [7] uses it; a constant ρ becomes 0.

    :param perturbation: ρ [5] of images in [0, 1], shape (N, *input_shape): ∂loss/∂x times the
        range of the values, where that differs between them.
    """
    xp = namespace(perturbation)
    axes = tuple(range(1, len(perturbation.shape)))
    high = xp.max(perturbation, axis=axes, keepdims=True)
    low = xp.min(perturbation, axis=axes, keepdims=True)
    span = high - low
    varies = span > ROUNDING * xp.where(high > -low, high, -low)
    return xp.where(varies, perturbation / xp.where(varies, span, span + 1), perturbation * 0)


def brightness(x: Array, pixels: PixelRange) -> Array:
    """Return mean(x) of [7], per image, as a share of the range: 0 is black, 1 is white.

    The range of the paper's images starts at 0. On another range, the mean of the values would
    depend on the unit of the images, and a negative mean would reverse ρ.

    :param x: images, shape (N, *input_shape).
    :param pixels: their range.
    :return: shape (N, 1, …), as many axes as x.
    """
    axes = tuple(range(1, len(x.shape)))
    return namespace(x).mean(pixels.unit(x), axis=axes, keepdims=True)


def defended(x: Array, perturbation: Array, strength: float, pixels: PixelRange) -> Array:
    """Return x_def = clip(x + strength · mean(x) · ρ̂) [7]; differentiable in x.

    The equation is for images in [0, 1]: mean(x) is their `brightness`, and the added term is
    scaled to the range. So the same pictures give the same defended pictures in any range.

    :param x: images, shape (N, *input_shape).
    :param perturbation: ρ̂ of the candidate that each image receives, in units of the range and
        already divided by its own range.
    :param strength: factor on the added term; 1 is the paper's.
    :param pixels: range of the images.
    """
    shifted = _shifted(x, perturbation, strength, pixels)
    return namespace(x).clip(shifted, pixels.low, pixels.high)


def defended_gradient(
    x: Array, perturbation: Array, strength: float, pixels: PixelRange, gradient: Array
) -> Array:
    """Return the gradient to x given that to x_def: the vector-Jacobian product of `defended`.

    :param x: images, shape (N, *input_shape).
    :param perturbation: ρ̂, shape of x.
    :param strength: as in `defended`.
    :param pixels: as in `defended`.
    :param gradient: gradient to x_def, shape of x, or (N, C, *input_shape) for one gradient per
        class.
    :return: shape of `gradient`.
    """
    xp = namespace(x)
    shifted = _shifted(x, perturbation, strength, pixels)
    inside = xp.astype((shifted >= pixels.low) & (shifted <= pixels.high), x.dtype)
    added = pixels.span * perturbation
    if len(gradient.shape) > len(x.shape):
        inside, added = inside[:, None], added[:, None]
    passed = gradient * inside
    axes = tuple(range(len(gradient.shape) - len(x.shape) + 1, len(gradient.shape)))
    return passed + strength * xp.mean(passed * added, axis=axes, keepdims=True) / pixels.span


def _shifted(x: Array, perturbation: Array, strength: float, pixels: PixelRange) -> Array:
    return x + strength * pixels.span * brightness(x, pixels) * perturbation
