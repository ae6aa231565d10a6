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
from art_nip.utils.arrays import Array


@dataclass(frozen=True)
class Retrieval(Learner):
    """How an image finds its inverse perturbation.

    Subclasses are frozen dataclasses of parameters that JSON can hold.
    """

    uses_candidates: ClassVar[bool] = True
    """Whether the reader asks for the ρ̂ of candidates; else fitting computes and keeps none."""

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

    def surrogate_losses(
        self,
        x: Array,
        classes: npt.NDArray[np.int64],
        added: Callable[[Array, Array], Array],
        draws: int,
    ) -> list[Array]:
        """Return gradients that lead a model to classes whatever the retrieval does, for attacks.

        Here they are the gradients of the class's lead, taken at the image with the ρ̂ of
        candidates drawn at random: for an attack that follows their mean, it does not matter which
        candidate is found.

        :param x: images, shape (N, *input_shape).
        :param classes: the class to lead each image to, shape (N,).
        :param added: function from images and ρ̂ to the defended images [7].
        :param draws: number of random draws.
        :return: gradients, each of shape x; all count the same, whatever their length.
        """
        return [
            self._adapter.lead_gradient(added(x, self._decoys(len(x))), classes)
            for _ in range(draws)
        ]

    def _decoys(self, n: int) -> Array:
        """Return the ρ̂ of n candidates drawn at random."""
        drawn = np.random.randint(len(self._bank), size=n)  # noqa: NPY002 - as ART's draw
        return self._stored(self._adapter.integers(drawn.astype(np.int64)))

    @cached_property
    def _stored(self) -> Callable[[Array], Array]:
        # The candidates' ρ̂ take memory of the device, and not every reader needs them.
        return self._bank.reader(self._adapter.rows)
