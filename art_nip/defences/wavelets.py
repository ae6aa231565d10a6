"""Wavelet denoising with a threshold for each image, channel and sub-band (BayesShrink).

Chang et al., "Adaptive wavelet thresholding for image denoising and compression", IEEE Transactions
on Image Processing 2000; as scikit-image's `denoise_wavelet` has it, with its default Haar wavelet.
"""

import numpy as np

from art_nip.utils.arrays import Array, namespace

COARSE_LEVELS = 3
"""The number of coarsest levels that are not denoised, of all that the image's size allows."""


def bayes_shrink(x: Array, sigma: float) -> Array:
    """Return channels without the details that noise of standard deviation σ could have made.

    A detail d of a sub-band of mean square m becomes sign(d) · max(0, |d| − σ²/√(m − σ²)), and 0 if
    m ≤ σ².

    :param x: channels, float64, shape (N, C, H, W) with sides of at least 2; where a side is odd,
        the edge is repeated.
    :param sigma: σ; 0 leaves all details as they are.
    """
    possible = min(x.shape[2:]).bit_length() - 1
    return _shrunk(x, sigma**2, levels=max(possible - COARSE_LEVELS, 1))


def _shrunk(x: Array, variance: float, levels: int) -> Array:
    if levels == 0:
        return x
    xp = namespace(x)
    n, channels, height, width = x.shape
    for axis in (2, 3):
        if x.shape[axis] % 2:
            edge = x[:, :, -1:] if axis == 2 else x[..., -1:]
            x = xp.concat([x, edge], axis=axis)
    mean, *details = _haar(*(x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)))
    mean = _shrunk(mean, variance, levels - 1)
    pixels = _haar(mean, *(_soft(detail, variance) for detail in details))
    rows = [
        xp.concat([left[..., None], right[..., None]], axis=4)
        for left, right in (pixels[:2], pixels[2:])
    ]
    whole = xp.concat([row[:, :, :, None] for row in rows], axis=3)
    return xp.reshape(whole, (n, channels, *x.shape[2:]))[:, :, :height, :width]


def _haar(a: Array, b: Array, c: Array, d: Array) -> tuple[Array, Array, Array, Array]:
    """Return mean and details of 2×2 pixels, or the pixels from them: Haar is its own inverse."""
    top, bottom, left, right = (a + b) / 2, (c + d) / 2, (a - b) / 2, (c - d) / 2
    return top + bottom, left + right, top - bottom, left - right


def _soft(detail: Array, variance: float) -> Array:
    """Move the details of a sub-band towards 0."""
    xp = namespace(detail)
    excess = xp.mean(detail * detail, axis=(2, 3), keepdims=True) - variance
    threshold = variance / xp.sqrt(xp.clip(excess, 1e-30, np.inf))
    kept = detail - threshold * xp.sign(detail)
    return xp.where(xp.abs(detail) > threshold, kept, xp.zeros_like(detail))
