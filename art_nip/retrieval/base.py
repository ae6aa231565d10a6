"""The seam that every retrieval is a class behind: what it is told, what it learns, how it reads.

A retrieval itself has parameters only, so that it can be compared, pickled and written to a file.
What it learns is kept with the candidates; what it needs on the model's device is its reader's.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.candidates import Fitted
from art_nip.estimators.base import EstimatorAdapter
from art_nip.namespace import Array

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Retrieval(ABC):
    """How an image finds its inverse perturbation.

    Subclasses are frozen dataclasses of parameters that JSON can hold.
    """

    name: ClassVar[str]

    def settled(self, adapter: EstimatorAdapter) -> "Self":
        """Return this retrieval with what it leaves to the model filled in, such as a layer.

        :param adapter: the model.
        :raises ValueError: if the model does not have what it needs.
        """
        return self

    def learn(
        self,
        adapter: EstimatorAdapter,
        images: Callable[[], Iterator[Array]],
        labels: npt.NDArray[np.int64],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return what it must keep of the candidates beside the bank, arrays by name.

        :param adapter: the model.
        :param images: gives the benign images of the M candidates in their order, in batches on the
            model's device; can be called again.
        :param labels: their classes, shape (M,).
        """
        return {}

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

    def as_dict(self) -> dict[str, Any]:
        """Return its name and its parameters, as JSON can hold them.

        :raises ValueError: if it has some that JSON cannot hold.
        """
        return {"name": self.name, **vars(self)}


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

    def lures(
        self, x: Array, classes: npt.NDArray[np.int64], added: Callable[[Array, Array], Array]
    ) -> list[Array]:
        """Return ways to make a model say classes whatever the retrieval does, for attacks.

        Here that is the way of each class's lead where the image has the ρ̂ of a candidate drawn at
        random: an attack that follows the mean of such ways need not care which one is found.

        :param x: images, shape (N, *input_shape).
        :param classes: where each is to be led, shape (N,).
        :param added: from images and ρ̂ to the defended images [7].
        :return: gradients, each of shape x. They count the same whatever their length.
        """
        drawn = np.random.randint(len(self._bank), size=len(x))  # noqa: NPY002 - as ART's draw
        decoys = self._stored(self._adapter.integers(drawn.astype(np.int64)))
        return [self._adapter.lead_gradient(added(x, decoys), classes)]

    @cached_property
    def _stored(self) -> Callable[[Array], Array]:
        # The candidates' ρ̂ take room on the device, and not every reader asks for them.
        return self._bank.reader(self._adapter.rows)
