"""Attacks of their own for defences of ART that give the identity for their gradient.

Going back as if a defence were not there (BPDA; Athalye et al. 2018) misses what it makes of a
perturbation. These have a gradient of what they do, or of what they do with soft steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor import FeatureSqueezing, JpegCompression, SpatialSmoothing
from art.defences.preprocessor.preprocessor import Preprocessor

from art_nip.attacks.jpeg_gradient import compressed_gradient, of_soft_steps
from art_nip.attacks.stand_ins import loss_of, standing_in
from art_nip.utils.surrogates import Classes, Floats, SurrogateLoss

Gradient = Callable[[Floats, Floats], Floats]
"""From what a defence is given and the gradient to its result: that to what it is given."""

AT_ONCE = 32
"""How many images go back through a defence at once."""


class OfART:
    """What offers surrogate losses for a preprocessor of ART.

    :param defence: one that :func:`gradient_of` knows.
    """

    def __init__(self, defence: Preprocessor) -> None:
        self.defence = defence

    def surrogate_losses(
        self, x: npt.ArrayLike, y: Classes, targets: Classes, classifier: Any
    ) -> Sequence[SurrogateLoss]:
        """Return the loss with the defence's own gradient, and with the identity."""
        return led_through(self.defence, gradient_of(self.defence), x, targets, classifier)


def is_known(defence: Any) -> bool:
    """Return whether a defence is one of ART whose own gradient is known here."""
    # Subclasses may do something else.
    return type(defence) in GRADIENTS


def gradient_of(defence: Preprocessor) -> Gradient:
    """Return the gradient of a known defence."""
    return partial(GRADIENTS[type(defence)], defence)


def led_through(
    defence: Preprocessor, gradient: Gradient, x: npt.ArrayLike, targets: Classes, classifier: Any
) -> list[SurrogateLoss]:
    """Return the loss of a defended classifier with a gradient of a defence, and with its own.

    :param defence: a preprocessing defence of the classifier.
    :param gradient: of the defence.
    :param x: images in the classifier's range, shape (N, *input_shape).
    :param targets: the class to lead each image to, shape (N,).
    :param classifier: the ART classifier with its defences.
    """
    through = standing_in(classifier, defence, _Through(defence, gradient))
    return [loss_of(through, x, targets, batch_size=AT_ONCE), loss_of(classifier, x, targets)]


def in_order(defence: Any, gradient: Gradient, x: Floats, grad: Floats) -> Floats:
    """Call a gradient of images with channels first for a defence that may have them last.

    :param defence: one that has `channels_first`.
    :param gradient: of images with channels first.
    :param x: images in the defence's order.
    :param grad: the gradient to the result, shape of x.
    """
    if defence.channels_first:
        return gradient(x, grad)
    first = gradient(np.moveaxis(x, 3, 1), np.moveaxis(grad, 3, 1))
    return np.moveaxis(first, 1, 3)


class _Through(Preprocessor):  # type: ignore[misc]
    """A defence with another gradient."""

    def __init__(self, defence: Preprocessor, gradient: Gradient) -> None:
        super().__init__(
            is_fitted=True, apply_fit=defence.apply_fit, apply_predict=defence.apply_predict
        )
        self._defence = defence
        self._gradient = gradient

    def __call__(self, x: npt.NDArray[Any], y: Any | None = None) -> tuple[Any, Any | None]:
        """Return what the defence makes of images, and y as it was."""
        # ART tells estimate_gradient what the classifier was given, before its other defences.
        self._given = np.asarray(x, np.float32)
        defended: tuple[Any, Any | None] = self._defence(x, y)
        return defended

    def estimate_gradient(self, x: npt.NDArray[Any], grad: npt.NDArray[Any]) -> Floats:
        """Return the gradient to the images that the defence was given last."""
        return self._gradient(self._given, np.asarray(grad, np.float32))


def _of_smoothing(defence: SpatialSmoothing, x: Floats, grad: Floats) -> Floats:
    return in_order(defence, partial(median_gradient, size=defence.window_size), x, grad)


def _of_compression(defence: JpegCompression, x: Floats, grad: Floats) -> Floats:
    levels = np.floor(x * 255) if defence.clip_values[1] == 1 else np.floor(x)
    function = partial(compressed_gradient, quality=defence.quality)
    return in_order(defence, function, levels, grad)


def _of_squeezing(defence: FeatureSqueezing, x: Floats, grad: Floats) -> Floats:
    low, high = defence.clip_values
    levels = (x - low) / (high - low) * (2.0**defence.bit_depth - 1)
    return np.asarray(grad * of_soft_steps(levels), np.float32)


def median_gradient(x: Floats, grad: Floats, size: int) -> Floats:
    """Return the gradient to images of which each pixel became the median of its neighbourhood.

    It goes to the pixel that was the median; of an even number of pixels, the larger middle one, as
    SciPy has it.

    :param x: images, shape (N, C, H, W).
    :param grad: the gradient to the result, shape of x.
    :param size: height and width of the neighbourhood.
    """
    height, width = x.shape[2:]
    before = size // 2
    padding = [(before, size - before - 1)] * 2

    def windows(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        # What SciPy calls "reflect", NumPy calls "symmetric".
        padded = np.pad(images, [(0, 0)] * (images.ndim - 2) + padding, mode="symmetric")
        seen = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(-2, -1))
        return seen.reshape(*images.shape, size * size)

    middle = size * size // 2
    median = np.argpartition(windows(x), middle, axis=-1)[..., middle, None]
    pixels = windows(np.arange(height * width).reshape(height, width))
    source = np.take_along_axis(np.broadcast_to(pixels, (*x.shape, size * size)), median, axis=-1)
    planes = np.arange(x.shape[0] * x.shape[1])[:, None] * height * width
    places = (planes + source.reshape(len(planes), -1)).ravel()
    return np.bincount(places, grad.ravel(), x.size).reshape(x.shape).astype(np.float32)


GRADIENTS: dict[type, Callable[[Any, Floats, Floats], Floats]] = {
    SpatialSmoothing: _of_smoothing,
    JpegCompression: _of_compression,
    FeatureSqueezing: _of_squeezing,
}
"""The gradient of each known defence: from it, what it is given, and the gradient to its result."""
