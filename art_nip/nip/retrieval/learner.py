"""What a retrieval and its evidence have in common: they are parameters, and may learn from images.

As nothing but parameters they can be compared, pickled and written to a file. What they learn is
kept with the candidates, and what they need on the model's device belongs to their readers.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy.typing as npt

from art_nip.nip.bank import LEARNED_PREFIX
from art_nip.nip.retrieval.context import Context
from art_nip.utils.arrays import Array
from art_nip.utils.validation import plain

if TYPE_CHECKING:
    import numpy as np
    from typing_extensions import Self


@dataclass(frozen=True)
class Learner(ABC):
    """What may learn from benign images; subclasses are frozen dataclasses of parameters."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        # NumPy's scalars are no JSON, and compare unlike others.
        for field in fields(self):
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))

    def settled(self, context: Context) -> Self:
        """Return this with what it leaves to the model filled in, such as layers.

        :param context: the model and the range of the images; nothing is fitted yet.
        :raises ValueError: if the model does not have what it needs.
        """
        return self

    def learn(
        self,
        context: Context,
        images: Callable[[], Iterator[Array]],
        labels: npt.NDArray[np.int64],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return what it must keep of benign images beside the bank, arrays by name.

        :param context: the model and the range of the images; nothing is fitted yet.
        :param images: gives the benign images of the M candidates in their order, in batches on the
            model's device; can be called again.
        :param labels: their classes, shape (M,).
        """
        return {}

    def check_learned(self, context: Context) -> None:  # noqa: B027 - most learn nothing
        """Raise a ValueError unless `context.learned` is such as `learn` returns.

        :param context: the model, the range of the images, and what a file says was fitted.
        """

    def as_dict(self) -> dict[str, Any]:
        """Return its name and its parameters, as JSON can hold them.

        :raises ValueError: if it has some that JSON cannot hold.
        """
        return {"name": self.name, **vars(self)}


def learned_array(context: Context, name: str, dtype: str, *shape: int) -> npt.NDArray[Any]:
    """Return one of the arrays that were learned.

    :param context: what it is learned in.
    :param name: of the array.
    :param dtype: that it must have.
    :param shape: likewise.
    :raises ValueError: if there is none, or it is another.
    """
    array = context.learned.get(name)
    if array is None:
        raise ValueError(f"it has no {LEARNED_PREFIX}{name}")
    if array.dtype != dtype or array.shape != shape:
        raise ValueError(
            f"its array {LEARNED_PREFIX + name!r} is {array.dtype} of shape {array.shape}, and the "
            f"model asks for {dtype} of shape {shape}"
        )
    return array
