"""What the defences share: axis order, batches, frameworks, and a gradient that passes through.

A defence says in `_defend` what it does to images with channels first; the rest is here.
"""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor.preprocessor import (
    Preprocessor,
    PreprocessorPyTorch,
    PreprocessorTensorFlowV2,
)

from art_nip.utils.arrays import Array, namespace
from art_nip.utils.validation import check_images, check_whole, numeric


class ImageDefence(Preprocessor, ABC):  # type: ignore[misc]
    """A defence of images whose gradient is the identity (BPDA, Athalye et al. 2018).

    :param channels_first: whether images are (C, H, W) or (H, W, C).
    :param clip_values: range (min, max) of the images, two numbers; None leaves the result as it
        is.
    :param apply_fit: whether the defence is applied when the defended classifier is trained.
    :param apply_predict: whether the defence is applied when it predicts.
    :param batch_size: how many images are treated at once.
    :param framework: `device_type`, "gpu" or "cpu", of the PyTorch classes, as in ART: where NumPy
        images are sent. Tensors stay where they are.
    """

    def __init__(
        self,
        *,
        channels_first: bool,
        clip_values: tuple[float, float] | None,
        apply_fit: bool,
        apply_predict: bool,
        batch_size: int,
        **framework: Any,
    ) -> None:
        super().__init__(
            is_fitted=True, apply_fit=apply_fit, apply_predict=apply_predict, **framework
        )
        self.channels_first = channels_first
        self.clip_values = clip_values
        self.batch_size = batch_size

    def __call__(
        self, x: npt.ArrayLike, y: Any | None = None
    ) -> tuple[npt.NDArray[np.float32], Any | None]:
        """Return the defended images, float32, shape of x, and y as it was.

        :param x: images, shape (N, C, H, W) or (N, H, W, C), in the range of `clip_values`.
        :param y: anything.
        :raises TypeError: if images are no numbers.
        :raises ValueError: if they have another shape, or contain NaN or infinite values.
        """
        images = numeric(x)
        self._check_images(images)
        results = np.empty_like(images)
        for start in range(0, len(images), self.batch_size):
            batch = slice(start, start + self.batch_size)
            results[batch] = self._numpy(self._in_order(self._tensor(images[batch])))
        return results, y

    def forward(self, x: Array, y: Any | None = None) -> tuple[Array, Any | None]:
        """Return the defended images as a tensor on its device; its gradient to x is the identity.

        :param x: images, a tensor of shape (N, C, H, W) or (N, H, W, C).
        :param y: anything.
        :raises ValueError: as of the call.
        """
        xp = namespace(x)
        x = xp.astype(x, xp.float32)
        fixed = self._constant(x)
        self._check_images(fixed)
        if len(x) == 0:
            return x, y
        starts = range(0, len(x), self.batch_size)
        defended = [self._in_order(fixed[start : start + self.batch_size]) for start in starts]
        # In this order: x - x is zero, so that the result is what was computed, to the last bit.
        return xp.concat(defended) + (x - fixed), y

    def estimate_gradient(self, x: npt.ArrayLike, grad: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return `grad`, as of `forward`.

        :param x: images.
        :param grad: gradients, shape of x, or with an axis of classes behind the first.
        """
        return np.array(grad, np.float32)

    def set_params(self, **kwargs: Any) -> None:
        """Change parameters; all of them, or none if one is not allowed.

        :param kwargs: as of the class.
        :raises ValueError: if a name or a value is not allowed.
        """
        if unknown := [name for name in kwargs if name not in self.params]:
            raise ValueError(
                f"{type(self).__name__} has no parameter {unknown[0]!r}; it has "
                f"{', '.join(self.params)}."
            )
        before = {name: getattr(self, name) for name in kwargs}
        try:
            super().set_params(**kwargs)
        except ValueError:
            super().set_params(**before)
            raise

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.params)
        return f"{type(self).__name__}({given})"

    def _check_params(self) -> None:
        if not isinstance(self.channels_first, bool):
            raise ValueError(
                f"channels_first={self.channels_first!r}; give True for (C, H, W), False for "
                "(H, W, C)."
            )
        check_whole("batch_size", self.batch_size, least=1)
        if self.clip_values is None:
            return
        given = self.clip_values
        if np.shape(given) != (2,) or not -np.inf < given[0] < given[1] < np.inf:
            raise ValueError(
                f"clip_values={given!r}; give two numbers (min, max) with min below max."
            )

    def _check_images(self, x: Array) -> None:
        shape = tuple(x.shape)
        if len(shape) != 4:
            raise ValueError(
                f"Images have shape {shape}; {type(self).__name__} takes "
                f"{'(N, C, H, W)' if self.channels_first else '(N, H, W, C)'}."
            )
        # Of any range: attacks on a classifier may leave it.
        check_images(x, shape[1:], clip_values=None)
        _, *sizes = shape
        channels, height, width = sizes if self.channels_first else (sizes[2], *sizes[:2])
        self._check_size(channels, height, width)

    def _in_order(self, x: Array) -> Array:
        """Defend images of either axis order, without gradients."""
        xp = namespace(x)
        defended = (
            self._defend(x)
            if self.channels_first
            else xp.permute_dims(self._defend(xp.permute_dims(x, (0, 3, 1, 2))), (0, 2, 3, 1))
        )
        return defended if self.clip_values is None else xp.clip(defended, *self.clip_values)

    @abstractmethod
    def _defend(self, x: Array) -> Array:
        """Defend images, float32, shape (N, C, H, W)."""

    @abstractmethod
    def _check_size(self, channels: int, height: int, width: int) -> None:
        """Raise a ValueError if images of this size cannot be defended."""

    def _tensor(self, values: npt.NDArray[Any], like: Array | None = None) -> Array:
        """Return an array as the framework has it, on the device of another."""
        return values

    def _constant(self, x: Array) -> Array:
        """Return an array through which no gradient flows."""
        return x

    def _numpy(self, x: Array) -> npt.NDArray[Any]:
        return np.asarray(x)


class PyTorchDefence(ImageDefence, PreprocessorPyTorch):  # type: ignore[misc]
    """A defence on PyTorch tensors."""

    def _tensor(self, values: npt.NDArray[Any], like: Array | None = None) -> Array:
        import torch

        return torch.tensor(values, device=self.device if like is None else like.device)

    def _constant(self, x: Array) -> Array:
        return x.detach()

    def _numpy(self, x: Array) -> npt.NDArray[Any]:
        return np.asarray(x.cpu())


class TensorFlowDefence(ImageDefence, PreprocessorTensorFlowV2):  # type: ignore[misc]
    """A defence on TensorFlow tensors."""

    def _tensor(self, values: npt.NDArray[Any], like: Array | None = None) -> Array:
        import tensorflow as tf

        return tf.convert_to_tensor(values)

    def _constant(self, x: Array) -> Array:
        import tensorflow as tf

        return tf.stop_gradient(x)
