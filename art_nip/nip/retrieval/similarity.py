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


def borders(ascending: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the largest number, between any two sorted values, that is no nearer to the second.

    The number of borders below a number is the position of the value nearest to it: of two that are
    as near the first.

    :param ascending: shape (M,), sorted.
    :return: shape (M - 1,).
    """
    between = (ascending[:-1].astype(np.float64) + ascending[1:]) / 2
    rounded = between.astype(np.float32)
    below = np.nextafter(rounded, np.float32(-np.inf))
    return np.where(rounded > between, below, rounded)


def similarity_to(
    template: npt.NDArray[np.float32], adapter: EstimatorAdapter, fractions: Sequence[float]
) -> Callable[[Array], Array]:
    """Return the function from images to their δ [3], shape (N,), on the model's device.

    :param template: T, shape (n,).
    :param adapter: the model.
    :param fractions: shares of the front, middle and tail part.
    """
    return adapter.from_influence(_similarity_of(adapter.tensor(template), fractions))


def _similarity_of(template: Array, fractions: Sequence[float]) -> Callable[[Array], Array]:
    """Return the function from influence to δ."""
    of_middle = neurons.similarity_to(template)
    return lambda influence: of_middle(neurons.middle_influence(influence, fractions))


@dataclass(frozen=True)
class Similarity(Retrieval):
    """The candidate whose δ [3] is closest to the image's own: the paper's (section III-F).

    This is the method as the paper's equations state it. The candidate found does not do measurably
    better than one drawn at random, whether the image's own benign version is in the bank or not;
    docs/expect.md has the numbers. Of candidates with equal δ the first is taken.
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
        ascending = fitted.bank.similarities[order]
        similarity = _similarity_of(adapter.tensor(fitted.template), context.fractions)
        between = adapter.tensor(borders(ascending))
        self._place = context.looking.from_influence(
            lambda influence: namespace(influence).searchsorted(between, similarity(influence))
        )
        # Of candidates with equal δ the first.
        self._candidate_at = adapter.rows(order[np.searchsorted(ascending, ascending)])

    def candidate(self, x: Array) -> Array:
        return self._candidate_at(self._place(x))
