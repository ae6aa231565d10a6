"""Total variance minimization for batches: the objective of ART's `TotalVarMin`, without loops.

Guo et al., "Countering Adversarial Images using Input Transformations", ICLR 2018,
https://arxiv.org/abs/1711.00117.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from art_nip.defences.base import SETTINGS, Settings
from art_nip.defences.exact import ExactDefence
from art_nip.defences.pytorch import PyTorchDefence
from art_nip.defences.tensorflow import TensorFlowDefence
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.dct import dct_matrix
from art_nip.utils.seeds import generator
from art_nip.utils.validation import check_number, check_seed, check_whole

if TYPE_CHECKING:
    from typing_extensions import Unpack

SMOOTHING = 1e-3
"""Norms are sqrt(‖·‖² + SMOOTHING²), for images of range 1; smaller differences hardly count."""

SEARCH_STEPS = 2
"""Newton-like steps of each search in a plane."""


class TotalVarianceMinimization(ExactDefence):
    """Redraw each image smoothly from a random part of its pixels (Guo et al. 2018).

    Each channel x becomes the z that minimises ‖m∘(z − x)‖₂ + λ(Σ‖differences of neighbouring
    rows‖₂ + Σ‖differences of neighbouring columns‖₂), with a random mask m. That is the objective
    of ART's `TotalVarMin` with norm=2, whose gradient of the second part is twice what it should
    be, so that it ends above the minimum however long it runs. The gradient of this defence is
    given as the identity.

    :param prob: share of pixels that m keeps.
    :param lamb: λ, above 0. The NIP paper has prob=0.5, lamb=0.1; these defaults are ART's.
    :param max_iter: number of iterations. On photographs with prob=0.5, lamb=0.1, five end below
        what 200 of ART reach and 2 % above the minimum, ten 0.1 %; strong smoothing takes more.
    :param seed: None draws a mask for each image at each call, from NumPy's global state as ART
        does; a number draws from this seed one mask for all images of a size, and repeats it.
    :param settings: see :class:`art_nip.defences.base.ImageDefence`.
    :raises ValueError: if a parameter is not allowed.
    """

    params = ["prob", "lamb", "max_iter", "seed", *SETTINGS]  # noqa: RUF012 - as ART has it
    default_batch_size = 64

    def __init__(
        self,
        prob: float = 0.3,
        lamb: float = 0.5,
        max_iter: int = 5,
        seed: int | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.prob = prob
        self.lamb = lamb
        self.max_iter = max_iter
        self.seed = seed
        self._check_params()

    def _check_params(self) -> None:
        super()._check_params()
        check_number("prob", self.prob, low=0, high=1)
        check_number("lamb", self.lamb, low=1e-6)
        check_whole("max_iter", self.max_iter, least=1)
        check_seed(self.seed)

    def _check_size(self, channels: int, height: int, width: int) -> None:
        if min(height, width) < 2:
            raise ValueError(
                f"Images are {height}×{width} pixels; a side of 1 has no differences. Check "
                f"channels_first={self.channels_first}."
            )

    def _defend(self, x: Array) -> Array:
        xp = namespace(x)
        n, channels, height, width = x.shape
        mask = self._tensor(self._masks(n, channels, height, width), like=x)
        x = xp.permute_dims(xp.reshape(x, (n * channels, height, width)), (1, 2, 0))
        # Through one axis, so that this is no mere view: the solver needs the last axis contiguous.
        x = xp.reshape(xp.reshape(x, (-1,)), (height, width, n * channels))
        held = self._constant if self._is_exact else _as_it_is
        low = held(xp.min(x, axis=(0, 1), keepdims=True))
        span = held(xp.max(x, axis=(0, 1), keepdims=True)) - low
        # A constant channel is its own minimum.
        span = xp.where(span > 0, span, span + 1)
        waves = tuple(
            self._beside(dct_matrix(side).astype(np.float32), x) for side in (height, width)
        )
        z = low + span * minimised((x - low) / span, mask, self.lamb, self.max_iter, waves, held)
        return xp.reshape(xp.permute_dims(z, (2, 0, 1)), (n, channels, height, width))

    def _masks(self, n: int, channels: int, height: int, width: int) -> Array:
        """Draw masks, shape (H, W, N·C), by NumPy: a seed means the same in any framework."""
        drawn = 1 if self.seed is not None else n
        uniform = generator(self.seed).random((height, width, drawn * channels), dtype=np.float32)
        return np.tile((uniform < self.prob).astype(np.float32), n // drawn)


class TotalVarianceMinimizationPyTorch(PyTorchDefence, TotalVarianceMinimization):
    """The same for PyTorch tensors; parameters as in :class:`TotalVarianceMinimization`."""


class TotalVarianceMinimizationTensorFlowV2(TensorFlowDefence, TotalVarianceMinimization):
    """The same for TensorFlow tensors; parameters as in :class:`TotalVarianceMinimization`."""


class _Point(NamedTuple):
    """An image, or a direction, with what the objective takes the norms of."""

    pixels: Array
    masked: Array
    rows: Array
    columns: Array


def _as_it_is(x: Array) -> Array:
    return x


def minimised(
    x: Array,
    mask: Array,
    lamb: float,
    iterations: int,
    waves: tuple[Array, Array],
    held: Callable[[Array], Array] = _as_it_is,
) -> Array:
    """Return the minimisers of ‖mask∘(z − x)‖₂ + lamb · TV₂(z), one for each channel.

    Each iteration minimises the objective in the plane of the preconditioned gradient and the last
    step (locally optimal conjugate gradients; the first takes the long waves, the others detail).
    The objective is a sum of norms, so that in a plane it depends on a few inner products for each
    norm, and is searched without looking at pixels.

    :param x: channels of range 1, shape (H, W, B). The last axis is that of the batch, so that all
        the work is along contiguous memory.
    :param mask: which pixels are kept, zeros and ones, shape of x.
    :param lamb: λ.
    :param iterations: number of iterations.
    :param waves: the matrices of the DCT of columns and of rows.
    :param held: makes constants of weights and step lengths where gradients are asked for, so that
        the result is linear in the image. Their own gradient is right for changes only that are
        far smaller than those of attacks.
    """
    xp = namespace(x)
    height = x.shape[0]

    def point(pixels: Array, residual: Array) -> _Point:
        rows = pixels[1:] - pixels[:-1]
        return _Point(pixels, mask * residual, rows, pixels[:, 1:] - pixels[:, :-1])

    # From the sum of row and column means, which has the least variance for its size, towards x.
    row_means = xp.mean(x, axis=1, keepdims=True)
    column_means = xp.mean(x, axis=0, keepdims=True)
    start = row_means + column_means - xp.mean(column_means, axis=1, keepdims=True)
    z, step = point(start, start - x), point(x - start, x - start)
    for iteration in range(iterations):
        z_z = _products(z, z)
        weights = held(_weights(z_z, lamb))
        # The weights of the quadratic function that lies above the objective and touches it here.
        of_rows, of_columns = weights[1:height], weights[height:]
        gradient = (
            z.masked * weights[0]
            + _adjoint(of_rows[:, None] * z.rows, 0)
            + _adjoint(of_columns[None] * z.columns, 1)
        )
        if iteration == 0:
            pixels = _smoothed(gradient, mask, weights, waves)
        else:
            diagonal = _neighbours(of_rows)[:, None] + _neighbours(of_columns)[None]
            pixels = gradient / (diagonal + mask * weights[0])
        descent = point(pixels, pixels)
        z_descent, descent_descent = _products(z, descent), _products(descent, descent)
        descent_step = _products(descent, step)
        z_step, step_step = _products(z, step), _products(step, step)

        a = b = 0 * weights[0]
        for _ in range(SEARCH_STEPS):
            along_descent = z_descent + a * descent_descent + b * descent_step
            along_step = z_step + a * descent_step + b * step_step
            squares = z_z + a * (z_descent + along_descent) + b * (z_step + along_step)
            weights = _weights(squares, lamb)
            da, db = _solved(
                xp.sum(weights * descent_descent, axis=0),
                xp.sum(weights * descent_step, axis=0),
                xp.sum(weights * step_step, axis=0),
                -xp.sum(weights * along_descent, axis=0),
                -xp.sum(weights * along_step, axis=0),
            )
            a, b = a + da, b + db

        pixels = held(a) * descent.pixels + held(b) * step.pixels
        z_pixels = z.pixels + pixels
        if iteration < iterations - 1:
            z, step = point(z_pixels, z_pixels - x), point(pixels, pixels)
    return z_pixels


def _smoothed(gradient: Array, mask: Array, weights: Array, waves: tuple[Array, Array]) -> Array:
    """Precondition by the Hessian of a mask and weights that are the same everywhere.

    The DCT diagonalises this Hessian.
    """
    xp = namespace(gradient)
    height, width, n = gradient.shape

    def transformed(x: Array, of_columns: Array, of_rows: Array) -> Array:
        x = xp.reshape(xp.matmul(of_columns, xp.reshape(x, (height, -1))), (height, width, n))
        return xp.matmul(of_rows, x)

    # The squared difference operator multiplies the k-th wave by this factor.
    column_waves, row_waves = (xp.sum((w[:, 1:] - w[:, :-1]) ** 2, axis=1) for w in waves)
    row_weight = (height - 1) / xp.sum(1 / weights[1:height], axis=0)
    column_weight = (width - 1) / xp.sum(1 / weights[height:], axis=0)
    eigenvalues = (
        xp.mean(mask, axis=(0, 1)) * weights[0]
        + row_weight * column_waves[:, None, None]
        + column_weight * row_waves[None, :, None]
    )
    # Without a mask, the mean is free.
    spectrum = transformed(gradient, *waves) / (eigenvalues + SMOOTHING)
    return transformed(spectrum, *(xp.permute_dims(w, (1, 0)) for w in waves))


def _products(u: _Point, v: _Point) -> Array:
    """Return the inner products in each norm: mask, rows, columns; shape (1 + H-1 + W-1, B)."""
    return namespace(u.pixels).concat(
        [
            _contracted(u.masked, v.masked, (0, 1))[None],
            _contracted(u.rows, v.rows, (1,)),
            _contracted(u.columns, v.columns, (0,)),
        ]
    )


def _contracted(u: Array, v: Array, axes: tuple[int, ...]) -> Array:
    """Return the sum over axes of the product, shape of u without them."""
    if isinstance(u, np.ndarray):  # One pass; in the frameworks this would be slower.
        return np.einsum(u, [0, 1, 2], v, [0, 1, 2], [i for i in range(3) if i not in axes])
    return namespace(u).sum(u * v, axis=axes)


def _weights(squares: Array, lamb: float) -> Array:
    """Return weights with which the sum of weight × square touches the sum of norms."""
    xp = namespace(squares)
    inverse = 1 / xp.sqrt(xp.abs(squares) + SMOOTHING**2)  # Rounding may leave them below zero.
    return xp.concat([inverse[:1], lamb * inverse[1:]])


def _adjoint(differences: Array, axis: int) -> Array:
    """Apply the transpose of taking differences along an axis."""
    xp = namespace(differences)
    if axis == 0:
        inner = differences[:-1] - differences[1:]
        return xp.concat([-differences[:1], inner, differences[-1:]], axis=0)
    inner = differences[:, :-1] - differences[:, 1:]
    return xp.concat([-differences[:, :1], inner, differences[:, -1:]], axis=1)


def _neighbours(weights: Array) -> Array:
    """Return the sum of the weights of the one or two differences that each row takes part in."""
    xp = namespace(weights)
    return xp.concat([weights[:1], weights[:-1] + weights[1:], weights[-1:]])


def _solved(h11: Array, h12: Array, h22: Array, g1: Array, g2: Array) -> tuple[Array, Array]:
    """Solve symmetric 2×2 systems, singular ones too."""
    h11, h22 = h11 * (1 + 1e-6) + 1e-12, h22 * (1 + 1e-6) + 1e-12
    # Systems are scaled to a diagonal of ones, so that float32 can hold their determinant.
    xp = namespace(h11)
    s1, s2 = xp.sqrt(h11), xp.sqrt(h22)
    cosine = h12 / (s1 * s2)
    determinant = 1 - cosine * cosine
    determinant = xp.where(determinant > 1e-6, determinant, 0 * determinant + 1e-6)
    g1, g2 = g1 / s1, g2 / s2
    return (g1 - cosine * g2) / determinant / s1, (g2 - cosine * g1) / determinant / s2
