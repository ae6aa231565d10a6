"""A fitted NIP at work: tensors of images become defended ones, on the model's device."""

import math
from functools import partial
from typing import Any

from art_nip.estimators.base import PRECISIONS
from art_nip.nip import neurons, shared_pass
from art_nip.nip.retrieval import Context, Retrieval
from art_nip.utils.arrays import Array, namespace


class Defending:
    """What defends images on the device that the model is on when this is made.

    `reader` is the retrieval there, and `added` the function from images and ρ̂ to the defended
    images [7].

    :param retrieval: how an image finds its ρ̂.
    :param context: the model, the range of the images, and what was fitted.
    :param strength: factor on the added term of [7].
    """

    def __init__(self, retrieval: Retrieval, context: Context, strength: float) -> None:
        self._adapter, self._pixels = context.adapter, context.pixels
        self._in_full_precision = context.look == PRECISIONS[0]
        self.reader = retrieval.reader(context)
        self.added = context.adapter.compiled(
            partial(neurons.defended, strength=strength, pixels=context.pixels)
        )

    def defended(self, x: Array) -> Array:
        """Return defended images.

        :param x: images without NaN or infinite values, shape (N, *input_shape).
        """
        return self.added(x, self.reader.perturbation(x))

    def forwarded(self, x: Array, defence: Any) -> Array:
        """Return defended images; NaN where an image has NaN or infinite values.

        :param x: images, shape (N, *input_shape).
        :param defence: the NIP that is called; see :class:`art_nip.nip.shared_pass.Answers`.
        """
        xp, axes = namespace(x), tuple(range(1, len(x.shape)))
        # A sum is finite only if all its terms are finite.
        if math.isfinite(float(xp.sum(self._adapter.constant(x)))):
            return self._answered(x, defence)
        # 0 times a finite number is 0; 0 times any other value is NaN, which does not equal itself.
        zeros = xp.sum(self._adapter.constant(x) * 0, axis=axes, keepdims=True)
        finite = zeros == zeros
        low = xp.zeros_like(x) + self._pixels.low
        return xp.where(finite, self.defended(xp.where(finite, x, low)), zeros)

    def _answered(self, x: Array, defence: Any) -> Array:
        """Return defended images; tell a prediction that wants to know what the model gave."""
        answers = shared_pass.wanted()
        perturbation, outputs = self.reader.perturbation_and_outputs(x)
        defended = self.added(x, perturbation)
        if answers is not None and outputs is not None and self._in_full_precision:
            xp, numpy = namespace(x), self._adapter.numpy
            stand = numpy(xp.all(defended == x, axis=tuple(range(1, len(x.shape)))))
            answers.append(shared_pass.Answers(defence, numpy(outputs), stand))
        return defended
