"""Base classes of retrievals: one holds parameters and may learn, one is the reader."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.nip.retrieval.context import Context
from art_nip.nip.retrieval.learner import Learner
from art_nip.utils.arrays import Array, namespace

Function = Callable[[], Array]

DECOYS = 4
"""Over how many candidates, drawn at random, an attack's gradient is averaged."""


@dataclass(frozen=True)
class Retrieval(Learner):
    """How an image finds its inverse perturbation.

    Subclasses are frozen dataclasses of parameters that JSON can hold.
    """

    uses_candidates: ClassVar[bool] = True
    """Whether the reader asks for the ρ̂ of candidates; else fitting computes and keeps none."""
    asks_model: ClassVar[bool] = False
    """Whether the reader finds out what the model gives, see `perturbation_and_outputs`."""
    answers: ClassVar[bool] = False
    """Whether the reader has `answers`, which a classifier that NIP is attached to gives."""
    learns_from_wrong: ClassVar[bool] = False
    """Whether it learns from images too that the model gets wrong; these are no candidates."""

    def learns_as(self, other: "Retrieval") -> bool:
        """Return whether another would have learned the same from the same images."""
        return self == other

    @abstractmethod
    def reader(self, context: Context) -> "Reader":
        """Return this retrieval at work.

        :param context: the model, the range of the images, and what was fitted.
        """


class Reader(ABC):
    """A retrieval at work: from images on the model's device to inverse perturbations there.

    Nothing that it returns carries a gradient: attacks see what was found as a constant.

    :param context: the model, the range of the images, and what was fitted.
    """

    def __init__(self, context: Context) -> None:
        self.device = context.adapter.device
        self._adapter, self._bank = context.adapter, context.fit.bank

    @abstractmethod
    def candidate(self, x: Array) -> Array:
        """Return the index of each image's candidate, integers, shape (N,); -1 for none.

        :param x: images, shape (N, *input_shape).
        """

    def perturbation(self, x: Array) -> Array:
        """Return each image's ρ̂, shape of x, in units of the range: that of its candidate.

        0 leaves an image as it is.

        :param x: images, shape (N, *input_shape).
        """
        return self._stored(self.candidate(x))

    def perturbation_and_outputs(self, x: Array) -> tuple[Array, Array | None]:
        """Return each image's ρ̂, and what the model gives for the images if that was found out.

        :param x: images, shape (N, *input_shape).
        :return: ρ̂ as `perturbation` returns it; outputs of shape (N, nb_classes), or None.
        """
        return self.perturbation(x), None

    def surrogate_losses(
        self,
        x: Array,
        classes: npt.NDArray[np.int64],
        added: Callable[[Array, Array], Array],
    ) -> list[tuple[Function, Function]]:
        """Return scores and gradients of what leads a model to classes, for attacks.

        See :class:`art_nip.utils.surrogates.SurrogateLoss`. Here it is the mean gradient of the
        class's lead, taken at the image with the ρ̂ of candidates drawn at random: for an attack
        that follows it, it does not matter which candidate is found.

        :param x: images, shape (N, *input_shape).
        :param classes: the class to lead each image to, shape (N,).
        :param added: function from images and ρ̂ to the defended images [7].
        """

        def gradient() -> Array:
            gradients = [
                self._adapter.lead_gradient(added(x, self._decoys(len(x))), classes)
                for _ in range(DECOYS)
            ]
            return sum(each / _mean_size(each) for each in gradients)

        return [(lambda: self._adapter.logits_and_activations(x, ())[0], gradient)]

    def _decoys(self, n: int) -> Array:
        """Return the ρ̂ of n candidates drawn at random."""
        drawn = np.random.randint(len(self._bank), size=n)  # noqa: NPY002 - as ART's draw
        return self._stored(self._adapter.integers(drawn.astype(np.int64)))

    @cached_property
    def _stored(self) -> Callable[[Array], Array]:
        # The candidates' ρ̂ take memory of the device, and not every reader needs them.
        return self._bank.reader(self._adapter.rows)


def _mean_size(gradient: Array) -> Array:
    """Return the mean size of an image's values, of the shape that divides them; never 0."""
    xp, axes = namespace(gradient), tuple(range(1, len(gradient.shape)))
    return xp.mean(xp.abs(gradient), axis=axes, keepdims=True) + 1e-30
