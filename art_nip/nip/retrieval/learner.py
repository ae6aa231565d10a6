"""The base class of retrieval and evidence: both hold parameters, and may learn from images.

They hold nothing but parameters, so they can be compared, pickled and written to a file. What they
learn is kept with the candidates. What they need on the model's device belongs to their readers.
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
    """May learn from benign images; subclasses are frozen dataclasses of parameters."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        # NumPy's scalars are no JSON, and compare differently from Python's.
        for field in fields(self):
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))

    def settled(self, context: Context) -> Self:
        """Return a copy with the choices that depend on the model filled in, such as layers.

        :param context: the model and the range of the images; nothing is fitted yet.
        :raises ValueError: if the model lacks what is needed.
        """
        return self

    def learn(
        self,
        context: Context,
        images: Callable[[], Iterator[Array]],
        labels: npt.NDArray[np.int64],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return what must be kept of benign images besides the bank, arrays by name.

        :param context: the model and the range of the images; nothing is fitted yet.
        :param images: function that yields the benign images of the M candidates in their order, in
            batches on the model's device; it can be called again.
        :param labels: their classes, shape (M,).
        """
        return {}

    @property
    def learns(self) -> bool:
        """Whether `learn` reads the images."""
        return type(self).learn is not Learner.learn

    def check_learned(self, context: Context) -> None:  # noqa: B027 - most learn nothing
        """Raise a ValueError unless `context.learned` is such as `learn` returns.

        :param context: the model, the range of the images, and what a file says was fitted.
        """

    def as_dict(self) -> dict[str, Any]:
        """Return the name and the parameters, as JSON can hold them.

        :raises ValueError: if JSON cannot hold a parameter.
        """
        return {"name": self.name, **vars(self)}


def learned_array(context: Context, name: str, dtype: str, *shape: int) -> npt.NDArray[Any]:
    """Return one of the learned arrays.

    :param context: the context that holds the arrays.
    :param name: name of the array.
    :param dtype: dtype that it must have.
    :param shape: shape that it must have.
    :raises ValueError: if the array is missing, or has another dtype or shape.
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
