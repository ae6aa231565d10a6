"""The paper's retrieval: by one number, the similarity δ of middle neurons to the template."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.nip import neurons
from art_nip.nip.retrieval.base import Reader, Retrieval
from art_nip.nip.retrieval.context import Context
from art_nip.utils.arrays import Array, namespace


def nearest(ascending: Array, values: Array) -> Array:
    """Return the position of the nearest of sorted values; of equally near ones the first.

    :param ascending: shape (M,), sorted.
    :param values: shape (N,).
    :return: integers, shape (N,).
    """
    xp = namespace(values)
    last = ascending.shape[0] - 1
    right = xp.searchsorted(ascending, values)
    right = xp.where(right > last, right * 0 + last, right)
    left = xp.where(right > 0, right - 1, right)
    below, above = xp.take(ascending, left, axis=0), xp.take(ascending, right, axis=0)
    found = xp.where(values - below <= above - values, below, above)
    return xp.searchsorted(ascending, found)


def similarity_to(
    template: npt.NDArray[np.float32], adapter: EstimatorAdapter, fractions: Sequence[float]
) -> Callable[[Array], Array]:
    """Return the function from images to their δ [3], shape (N,), on the model's device.

    :param template: T, shape (n,).
    :param adapter: the model.
    :param fractions: shares of the front, middle and tail part.
    """
    found = adapter.compiled(_similarity_of(adapter.tensor(template), fractions))
    return lambda x: found(adapter.influence(x))


def _similarity_of(template: Array, fractions: Sequence[float]) -> Callable[[Array], Array]:
    """Return the function from influence to δ."""
    of_middle = neurons.similarity_to(template)
    return lambda influence: of_middle(neurons.middle_influence(influence, fractions))


@dataclass(frozen=True)
class Similarity(Retrieval):
    """The candidate whose δ [3] is closest to the image's own: the paper's (section III-F).

    This is the method as the paper's equations state it. The candidate found does not do measurably
    better than one drawn at random, whether the image's own benign version is in the bank or not;
    the README has the numbers. Of candidates with equal δ the first is taken.
    """

    name: ClassVar[str] = "similarity"

    def reader(self, context: Context) -> Reader:
        """Return the retrieval at work; see the base class."""
        return _SimilarityReader(context)


class _SimilarityReader(Reader):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        fitted, adapter = context.fit, context.adapter
        order = np.argsort(fitted.bank.similarities, kind="stable")
        similarity = _similarity_of(adapter.tensor(fitted.template), context.fractions)
        ascending = adapter.tensor(fitted.bank.similarities[order])
        self._place = adapter.compiled(lambda influence: nearest(ascending, similarity(influence)))
        self._candidate_at = adapter.rows(order)

    def candidate(self, x: Array) -> Array:
        return self._candidate_at(self._place(self._adapter.influence(x)))
