"""What a retrieval and its evidence have in common: parameters alone, settled on a model, learning.

So they can be compared, pickled and written to a file. What they learn is kept with the candidates;
what they need on the model's device is their readers'.
"""

from abc import ABC
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.utils.arrays import Array

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Learner(ABC):
    """What may learn from benign images; subclasses are frozen dataclasses of parameters."""

    name: ClassVar[str]

    def settled(self, adapter: EstimatorAdapter) -> "Self":
        """Return this with what it leaves to the model filled in, such as layers.

        :param adapter: the model.
        :raises ValueError: if the model does not have what it needs.
        """
        return self

    def learn(
        self,
        adapter: EstimatorAdapter,
        images: Callable[[], Iterator[Array]],
        labels: npt.NDArray[np.int64],
        clip_values: tuple[Any, Any],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return what it must keep of benign images beside the bank, arrays by name.

        :param adapter: the model.
        :param images: gives the benign images of the M candidates in their order, in batches on the
            model's device; can be called again.
        :param labels: their classes, shape (M,).
        :param clip_values: range (min, max) of the images, numbers or nested lists.
        """
        return {}

    def as_dict(self) -> dict[str, Any]:
        """Return its name and its parameters, as JSON can hold them.

        :raises ValueError: if it has some that JSON cannot hold.
        """
        return {"name": self.name, **vars(self)}
