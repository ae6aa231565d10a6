"""Convolutional sparse coding by ADMM in the Fourier domain, and learning the filters for it.

An image is a sum of filters, each convolved with a sparse map of coefficients. Wohlberg, "Efficient
Algorithms for Convolutional Sparse Representations", IEEE Transactions on Image Processing 2016;
Liu et al., "First- and Second-Order Methods for Online Convolutional Dictionary Learning", SIAM
Journal on Imaging Sciences 2018, https://arxiv.org/abs/1709.00106.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft

from art_nip.utils.arrays import Array, namespace

Filters = npt.NDArray[np.float32]
"""M filters of norm 1, shape (M, C, K, K). A filter has all C channels; its map has one."""

RELAXATION = 1.8
"""Over-relaxation of ADMM, as in sporco."""

LEARNING_ITERATIONS = 25
"""Iterations of ADMM while filters are learned; twice as many change the result by 0.1 %."""

FILTER_STEPS = 10
"""Gradient steps that fit the filters to the codes of a batch."""

FORGETTING_EXPONENT = 10
"""Before batch t is added, all earlier batches are weighted by (1 - 1/t) to this power."""


class Spectra(NamedTuple):
    """Filters in the Fourier domain, for images of one size; complex64.

    :param synthesis: D, from the spectra of codes to that of an image, shape (C, M, H, W // 2 + 1).
    :param solution: Dᴴ(DDᴴ + penalty)⁻¹, from the spectrum of a residual to those of the change of
        codes, shape (C, M, H, W // 2 + 1).
    """

    synthesis: Array
    solution: Array

    @classmethod
    def of(
        cls,
        filters: Filters,
        height: int,
        width: int,
        penalty: float,
        tensor: Callable[[npt.NDArray[Any]], Array],
    ) -> "Spectra":
        """Return the spectra of filters.

        :param filters: see `Filters`.
        :param height: height of the images, H, at least K.
        :param width: width of the images, W, at least K.
        :param penalty: the penalty ρ of ADMM.
        :param tensor: function that puts an array on the device of the images.
        """
        padded = scipy.fft.rfftn(filters.astype(np.float64), s=(height, width), axes=(2, 3))
        d = np.moveaxis(padded, (2, 3), (0, 1)).swapaxes(2, 3)  # (H, W // 2 + 1, C, M)
        adjoint = d.conj().swapaxes(2, 3)
        inverse = np.linalg.inv(d @ adjoint + penalty * np.eye(filters.shape[1]))
        solution = np.moveaxis(adjoint @ inverse, (3, 2), (0, 1))
        both = (padded.swapaxes(0, 1), solution)
        return cls(*(tensor(np.ascontiguousarray(array, np.complex64)) for array in both))


def penalty(lmbda: float) -> float:
    """Return ρ, with which ADMM took the fewest iterations for λ of 0.1, 0.2 and 0.3."""
    return 1 + 20 * lmbda


def coded(x: Array, spectra: Spectra, lmbda: float, iterations: int) -> Array:
    """Return the codes z that minimise ½‖x − Σ filter ∗ code‖² + λ‖z‖₁, shape (N, M, H, W).

    Images count as periodic, as in sporco and in the code of Sun et al.

    :param x: images of range 1 and mean about 0, float32, shape (N, C, H, W).
    :param spectra: spectra of the filters, with the penalty for λ.
    :param lmbda: λ.
    :param iterations: iterations of ADMM, at least 1.
    """
    xp = namespace(x)
    threshold = lmbda / penalty(lmbda)
    size = (x.shape[2], x.shape[3])
    spectrum = _spectrum(x)
    point = RELAXATION * _image(_correction(spectra, spectrum), size)
    dual = xp.clip(point, -threshold, threshold)
    codes = point - dual
    for _ in range(iterations - 1):
        start = codes - dual
        residual = spectrum - _mixture(spectra, _spectrum(start))
        solution = start + _image(_correction(spectra, residual), size)
        point = RELAXATION * solution + (1 - RELAXATION) * codes + dual
        dual = xp.clip(point, -threshold, threshold)
        codes = point - dual
    return codes


def synthesised(codes: Array, spectra: Spectra) -> Array:
    """Return the images that have these codes, shape (N, C, H, W)."""
    return _image(_mixture(spectra, _spectrum(codes)), (codes.shape[2], codes.shape[3]))


def drawn(
    crops: npt.NDArray[np.float32], n_filters: int, size: int, rng: np.random.Generator
) -> Filters:
    """Return filters to start learning from: patches with more contrast than most.

    :param crops: images of mean about 0, shape (N, C, H, W).
    :param n_filters: number of filters, M.
    :param size: height and width of a filter, K.
    :param rng: draws the patches.
    """
    n, _, height, width = crops.shape
    ends = (n, height - size + 1, width - size + 1)
    places = zip(*(rng.integers(end, size=2 * n_filters) for end in ends), strict=True)
    patches = np.stack([crops[k, :, i : i + size, j : j + size] for k, i, j in places])
    by_contrast = np.argsort(-np.square(patches).sum(axis=(1, 2, 3)), kind="stable")
    chosen = patches[by_contrast[:n_filters]]
    # With noise, flat patches make filters too, and equal patches make different ones.
    noise = 1e-3 * rng.standard_normal(chosen.shape, dtype=np.float32)
    return np.asarray(_normed(chosen + noise), np.float32)


def learned(
    batches: Iterable[npt.NDArray[np.float32]],
    filters: Filters,
    lmbda: float,
    tensor: Callable[[npt.NDArray[Any]], Array],
    numpy: Callable[[Array], npt.NDArray[Any]],
) -> Filters:
    """Return filters in which images have sparser and truer codes.

    The second-order online method of Liu et al.: each batch is coded with the filters so far,
    which then take accelerated projected gradient steps (FISTA) to the least squares of what is
    remembered of all batches.

    :param batches: images of range 1 and mean about 0, all of one size, shape (N, C, H, W).
    :param filters: the filters to start from.
    :param lmbda: λ.
    :param tensor: function that puts an array on the device.
    :param numpy: function that brings it back.
    """
    squares = products = 0.0
    for t, batch in enumerate(batches, start=1):
        height, width = batch.shape[2:]
        x = tensor(batch)
        spectra = Spectra.of(filters, height, width, penalty(lmbda), tensor)
        codes = _spectrum(coded(x, spectra, lmbda, LEARNING_ITERATIONS))
        adjoint = namespace(x).conj(_by_frequency(codes, (2, 3, 0, 1)))
        remembered = (1 - 1 / t) ** FORGETTING_EXPONENT
        squares = remembered * squares + _by_frequency(codes, (2, 3, 1, 0)) @ adjoint
        products = remembered * products + _by_frequency(_spectrum(x), (2, 3, 1, 0)) @ adjoint
        filters = numpy(_refined(tensor(filters), squares, products, (height, width)))
    return filters


def _refined(filters: Array, squares: Array, products: Array, size: tuple[int, int]) -> Array:
    """Bring filters of norm 1 nearer to the least squares of the images and their codes.

    :param filters: see `Filters`.
    :param squares: codes times codes for each frequency, shape (H · (W // 2 + 1), M, M).
    :param products: images times codes, shape (H · (W // 2 + 1), C, M).
    :param size: (H, W).
    """
    xp = namespace(filters)
    _, channels, side, _ = filters.shape
    # No eigenvalue exceeds the largest sum of a row. If all codes are 0, so is the gradient.
    step = 1 / max(float(xp.max(xp.sum(xp.abs(squares), axis=-1))), 1e-12)
    ahead, momentum = filters, 1.0
    for _ in range(FILTER_STEPS):
        padded = _fourier(ahead).rfftn(ahead, s=size, axes=(2, 3))
        gradient = _by_frequency(padded, (2, 3, 1, 0)) @ squares - products
        gradient = xp.reshape(gradient, (*padded.shape[2:], channels, -1))
        downhill = _image(xp.permute_dims(gradient, (3, 2, 0, 1)), size)[..., :side, :side]
        before, filters = filters, _normed(ahead - step * downhill)
        momentum, last = (1 + np.sqrt(1 + 4 * momentum**2)) / 2, momentum
        ahead = filters + float((last - 1) / momentum) * (filters - before)
    return filters


def _normed(filters: Array) -> Array:
    xp = namespace(filters)
    return filters / xp.sqrt(xp.sum(filters * filters, axis=(1, 2, 3), keepdims=True))


def _mixture(spectra: Spectra, codes: Array) -> Array:
    """Apply D to the spectra of codes."""
    xp = namespace(codes)
    channels = range(spectra.synthesis.shape[0])
    return xp.concat(
        [xp.sum(spectra.synthesis[c] * codes, axis=1, keepdims=True) for c in channels], axis=1
    )


def _correction(spectra: Spectra, residual: Array) -> Array:
    """Apply Dᴴ(DDᴴ + ρ)⁻¹ to the spectra of images."""
    channels = range(spectra.solution.shape[0])
    return sum(spectra.solution[c] * residual[:, c : c + 1] for c in channels)


def _by_frequency(spectrum: Array, order: tuple[int, ...]) -> Array:
    """Reorder the axes of a spectrum, so that there is a matrix for each frequency."""
    xp = namespace(spectrum)
    ordered = xp.permute_dims(spectrum, order)
    return xp.reshape(ordered, (-1, *ordered.shape[2:]))


def _spectrum(x: Array) -> Array:
    return _fourier(x).rfftn(x, axes=(2, 3))


def _image(spectrum: Array, size: tuple[int, int]) -> Array:
    return _fourier(spectrum).irfftn(spectrum, s=size, axes=(2, 3))


def _fourier(x: Array) -> Any:
    # SciPy's transforms take a third of the time of NumPy's.
    return scipy.fft if isinstance(x, np.ndarray) else namespace(x).fft
