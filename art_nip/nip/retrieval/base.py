"""The seam that every retrieval is a class behind: what it learns, and how it reads."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.nip.bank import Fitted
from art_nip.nip.retrieval.learner import Learner
from art_nip.utils.arrays import Array


@dataclass(frozen=True)
class Retrieval(Learner):
    """How an image finds its inverse perturbation.

    Subclasses are frozen dataclasses of parameters that JSON can hold.
    """

    @abstractmethod
    def reader(
        self,
        adapter: EstimatorAdapter,
        fitted: Fitted,
        fractions: Sequence[float],
        clip_values: tuple[Any, Any],
    ) -> "Reader":
        """Return this retrieval at work.

        :param adapter: the model.
        :param fitted: what was fitted for it.
        :param fractions: shares of the front, middle and tail part.
        :param clip_values: range (min, max) of the images, numbers or nested lists.
        """


class Reader(ABC):
    """A retrieval at work: from images on the model's device to inverse perturbations there.

    Nothing that it returns carries a gradient: attacks see what was found as a constant.

    :param adapter: the model.
    :param fitted: what was fitted.
    """

    def __init__(self, adapter: EstimatorAdapter, fitted: Fitted) -> None:
        self.device = adapter.device
        self._adapter, self._bank = adapter, fitted.bank

    @abstractmethod
    def candidate(self, x: Array) -> Array:
        """Return the index of each image's candidate, integers, shape (N,); -1 for none.

        :param x: images, shape (N, *input_shape).
        """

    def perturbation(self, x: Array) -> Array:
        """Return each image's ρ̂, shape of x: that of its candidate. 0 leaves an image as it is.

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
        """Return ways to make a model say classes whatever the retrieval does, for attacks.

        Here those are the ways of each class's lead where the image has the ρ̂ of candidates drawn
        at random: an attack that follows the mean of such ways need not care which one is found.

        :param x: images, shape (N, *input_shape).
        :param classes: where each is to be led, shape (N,).
        :param added: from images and ρ̂ to the defended images [7].
        :param draws: how many are drawn of what is drawn at random.
        :return: gradients, each of shape x. They count the same whatever their length.
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
        # The candidates' ρ̂ take room on the device, and not every reader asks for them.
        return self._bank.reader(self._adapter.rows)
