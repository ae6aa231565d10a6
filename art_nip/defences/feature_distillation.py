"""Feature distillation: JPEG compression that spares the frequencies networks look at.

Liu et al., "Feature Distillation: DNN-Oriented JPEG Compression Against Adversarial Examples",
CVPR 2019, https://arxiv.org/abs/1803.05787.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from art_nip.defences.base import SETTINGS, Settings
from art_nip.defences.exact import ExactDefence
from art_nip.defences.pytorch import PyTorchDefence
from art_nip.defences.tensorflow import TensorFlowDefence
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.colour import TO_YCBCR, check_grey_or_rgb, mixed
from art_nip.utils.dct import dct_matrix
from art_nip.utils.validation import check_number

if TYPE_CHECKING:
    from typing_extensions import Unpack

BLOCK = 8
LOW_FREQUENCIES = 5
"""Coefficients (i, j) with i + j below this are kept."""

LEVEL_BITS = 12
"""Binary places of a value in units of 1/255 that are not noise in float32, in any range."""

QUOTIENT_BITS = 20
"""Binary places of a coefficient, divided by its step, that are not noise in float64."""


class FeatureDistillation(ExactDefence):
    """Quantise the 8×8 DCT of YCbCr coarsely where frequencies are high (Liu et al. 2019).

    Step 1 for the frequencies with i + j < 5, 1 + `qs` for the others, in units of 1/255 of the
    range, as in the authors' code; without its roundings to whole colour values. Images are padded
    to whole blocks by repeating the edge, and cropped again. With straight-through rounding the
    gradient of the defence is the identity; it is given as such, also where values are clipped.

    :param qs: how much coarser the step of high frequencies is; 50 is the default of the NIP paper.
    :param settings: see :class:`art_nip.defences.base.ImageDefence`; `clip_values` are needed.
        Images have 1 or 3 (RGB) channels.
    :raises ValueError: if a parameter is not allowed.
    """

    params = ["qs", *SETTINGS]  # noqa: RUF012 - as ART has it
    needs_clip_values = True

    def __init__(self, qs: float = 50, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.qs = qs
        self._check_params()

    def _check_params(self) -> None:
        super()._check_params()
        check_number("qs", self.qs, low=0)

    def _check_size(self, channels: int, height: int, width: int) -> None:
        check_grey_or_rgb(channels, self.channels_first)
        if min(height, width) < BLOCK:
            raise ValueError(
                f"Images are {height}×{width} pixels, smaller than a block of {BLOCK}×{BLOCK}. "
                "Resize them."
            )

    def _defend(self, x: Array) -> Array:
        # float64, so that rounding depends neither on the framework nor on the number of images.
        return self._in_float64(x, self._distilled)

    def _distilled(self, x: Array) -> Array:
        _, channels, height, width = x.shape
        # Whole levels become whole again, whatever the unit of the images was.
        levels = self._rid_of_noise(255 * x, LEVEL_BITS) - 128
        if channels == 3:
            levels = mixed(self._beside(TO_YCBCR, levels), levels)
        levels = self._quantised(self._padded(levels))[:, :, :height, :width]
        if channels == 3:
            levels = mixed(self._beside(np.linalg.inv(TO_YCBCR), levels), levels)
        return (levels + 128) / 255

    def _padded(self, x: Array) -> Array:
        """Pad images to whole blocks by repeating the edge."""
        for axis in (2, 3):
            if x.shape[axis] % BLOCK:
                whole = -(-x.shape[axis] // BLOCK) * BLOCK
                pixels = np.minimum(np.arange(whole), x.shape[axis] - 1)
                x = namespace(x).take(x, self._beside(pixels, x), axis=axis)
        return x

    def _quantised(self, x: Array) -> Array:
        """Quantise the DCT of each block."""
        xp = namespace(x)
        width = x.shape[3]
        dct = self._beside(dct_matrix(BLOCK), x)
        inverse = self._beside(dct_matrix(BLOCK).T.copy(), x)
        steps = self._beside(np.tile(step_table(self.qs), width // BLOCK), x)

        def transformed(x: Array, rows: Array, columns: Array) -> Array:
            # Blocks are not copied: a row of blocks is a matrix, whose rows are vectors.
            x = xp.matmul(rows, xp.reshape(x, (-1, BLOCK, width)))
            return xp.reshape(xp.matmul(xp.reshape(x, (-1, BLOCK)), columns), (-1, BLOCK, width))

        # The last bit must not decide ties, which are frequent in images of 8 bits.
        quotients = self._rid_of_noise(transformed(x, dct, inverse) / steps, QUOTIENT_BITS)
        # Small steps pass on what is added; a large one swallows it unless it is near to the next.
        whole = self._rounded(quotients, xp.astype(steps > 1, steps.dtype))
        return xp.reshape(transformed(whole * steps, inverse, dct), x.shape)

    def _rid_of_noise(self, x: Array, bits: int) -> Array:
        """Round to a number of binary places, and so remove noise of rounding."""
        return self._rounded(x * 2.0**bits, 0.0) / 2.0**bits

    def _rounded(self, x: Array, coarse: Array) -> Array:
        """Round to whole numbers.

        Where gradients are asked for, they are those of x, and of stairs with round edges where
        `coarse` is 1.
        """
        xp = namespace(x)
        whole = xp.round(x)
        if not self._is_exact:
            return whole
        smooth = x - coarse * xp.sin(2 * np.pi * x) / (2 * np.pi)
        return whole + (smooth - self._constant(smooth))


class FeatureDistillationPyTorch(PyTorchDefence, FeatureDistillation):
    """Feature distillation of PyTorch tensors; parameters as in :class:`FeatureDistillation`."""


class FeatureDistillationTensorFlowV2(TensorFlowDefence, FeatureDistillation):
    """Feature distillation of TensorFlow tensors; parameters as in :class:`FeatureDistillation`."""


def step_table(qs: float) -> npt.NDArray[np.float64]:
    """Return the quantisation step of each coefficient, shape (8, 8)."""
    i, j = np.mgrid[:BLOCK, :BLOCK]
    return np.where(i + j < LOW_FREQUENCIES, 1.0, 1.0 + qs)
