"""Feature distillation: JPEG compression that spares the frequencies networks look at.

Liu et al., "Feature Distillation: DNN-Oriented JPEG Compression Against Adversarial Examples",
CVPR 2019, https://arxiv.org/abs/1803.05787.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.defences.base import ImageDefence, PyTorchDefence, TensorFlowDefence
from art_nip.defences.colour import TO_YCBCR, check_grey_or_rgb, mixed
from art_nip.defences.dct import dct_matrix
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.validation import check_number

BLOCK = 8
LOW_FREQUENCIES = 5
"""Coefficients (i, j) with i + j below this are kept."""


class FeatureDistillation(ImageDefence):
    """Quantise the 8×8 DCT of YCbCr coarsely where frequencies are high (Liu et al. 2019).

    Step 1 for the frequencies with i + j < 5, 1 + `qs` for the others, in units of 1/255 of the
    range, as in the authors' code; without its roundings to whole colour values. Images are padded
    to whole blocks by repeating the edge, and cropped again. With straight-through rounding, the
    gradient of this is the identity, and that is what is given, at the clipping too.

    :param clip_values: range (min, max) of the images, two numbers.
    :param qs: how much coarser the step of high frequencies is; 50 is the default of the NIP paper.
    :param channels_first: whether images are (C, H, W) or (H, W, C); C is 1 or 3 (RGB).
    :param apply_fit: whether the defence is applied when the defended classifier is trained.
    :param apply_predict: whether the defence is applied when it predicts.
    :param batch_size: how many images are treated at once.
    :param framework: `device_type` of the PyTorch class; see :class:`ImageDefence`.
    :raises ValueError: if a parameter is not allowed.
    """

    params = ["clip_values", "qs", "channels_first", "batch_size"]  # noqa: RUF012 - as ART has it

    def __init__(
        self,
        clip_values: tuple[float, float],
        qs: float = 50,
        channels_first: bool = False,
        apply_fit: bool = False,
        apply_predict: bool = True,
        batch_size: int = 128,
        **framework: Any,
    ) -> None:
        super().__init__(
            channels_first=channels_first,
            clip_values=clip_values,
            apply_fit=apply_fit,
            apply_predict=apply_predict,
            batch_size=batch_size,
            **framework,
        )
        self.qs = qs
        self._check_params()

    def _check_params(self) -> None:
        super()._check_params()
        if self.clip_values is None:
            raise ValueError(
                "clip_values=None; the steps are shares of the range of the images: give "
                "(min, max)."
            )
        check_number("qs", self.qs, low=0)

    def _check_size(self, channels: int, height: int, width: int) -> None:
        check_grey_or_rgb(channels, self.channels_first)
        if min(height, width) < BLOCK:
            raise ValueError(
                f"Images are {height}×{width} pixels, smaller than a block of {BLOCK}×{BLOCK}. "
                "Resize them."
            )

    def _defend(self, x: Array) -> Array:
        xp = namespace(x)
        _, channels, height, width = x.shape
        low, high = self.clip_values  # type: ignore[misc] # _check_params
        # float64, lest rounding depend on the framework, or on how many images there are.
        levels = (xp.astype(x, xp.float64) - low) * (255 / (high - low)) - 128
        if channels == 3:
            levels = mixed(self._tensor(TO_YCBCR, like=levels), levels)
        levels = self._quantised(self._padded(levels))[:, :, :height, :width]
        if channels == 3:
            levels = mixed(self._tensor(np.linalg.inv(TO_YCBCR), like=levels), levels)
        return xp.astype((levels + 128) * ((high - low) / 255) + low, xp.float32)

    def _padded(self, x: Array) -> Array:
        """Repeat the edge up to whole blocks."""
        for axis in (2, 3):
            if x.shape[axis] % BLOCK:
                whole = -(-x.shape[axis] // BLOCK) * BLOCK
                pixels = np.minimum(np.arange(whole), x.shape[axis] - 1)
                x = namespace(x).take(x, self._tensor(pixels, like=x), axis=axis)
        return x

    def _quantised(self, x: Array) -> Array:
        """Quantise the DCT of each block."""
        xp = namespace(x)
        width = x.shape[3]
        dct = self._tensor(dct_matrix(BLOCK), like=x)
        inverse = self._tensor(dct_matrix(BLOCK).T.copy(), like=x)
        steps = self._tensor(np.tile(step_table(self.qs), width // BLOCK), like=x)

        def transformed(x: Array, rows: Array, columns: Array) -> Array:
            # Blocks need no copy of their own: a row of them is a matrix, and its rows are vectors.
            x = xp.matmul(rows, xp.reshape(x, (-1, BLOCK, width)))
            return xp.reshape(xp.matmul(xp.reshape(x, (-1, BLOCK)), columns), (-1, BLOCK, width))

        whole = xp.round(transformed(x, dct, inverse) / steps)
        return xp.reshape(transformed(whole * steps, inverse, dct), x.shape)


class FeatureDistillationPyTorch(PyTorchDefence, FeatureDistillation):
    """Feature distillation of PyTorch tensors; parameters as of :class:`FeatureDistillation`."""


class FeatureDistillationTensorFlowV2(TensorFlowDefence, FeatureDistillation):
    """Feature distillation of TensorFlow tensors; parameters as of :class:`FeatureDistillation`."""


def step_table(qs: float) -> npt.NDArray[np.float64]:
    """Return the quantisation step of each coefficient, shape (8, 8)."""
    i, j = np.mgrid[:BLOCK, :BLOCK]
    return np.where(i + j < LOW_FREQUENCIES, 1.0, 1.0 + qs)
