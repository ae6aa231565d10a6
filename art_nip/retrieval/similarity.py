"""The paper's retrieval: by one number, the similarity δ of middle neurons to the template."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.candidates import Fitted
from art_nip.estimators.base import EstimatorAdapter
from art_nip.namespace import Array, namespace
from art_nip.neurons import middle_influence, similarity
from art_nip.retrieval.base import Reader, Retrieval


class NeuronTemplate:
    """The general distribution of middle neurons among benign images, T [2].

    T is the mean over images of the influence restricted to each image's middle neurons. With a
    quorum, T is that on the neurons that are middle in at least this share of the images, and zero
    elsewhere; a quorum of 1 is the paper's intersection, empty on every real model tried.

    :param n_neurons: n.
    """

    def __init__(self, n_neurons: int) -> None:
        self._sum = np.zeros(n_neurons)
        self._times_middle = np.zeros(n_neurons, np.int64)
        self._images = 0

    def add(self, middle: npt.NDArray[np.float32], is_middle: npt.NDArray[np.bool_]) -> None:
        """Count in the middle influence of some images, shape (N, n)."""
        self._sum += middle.sum(axis=0, dtype=np.float64)
        self._times_middle += is_middle.sum(axis=0)
        self._images += len(middle)

    def mean(self) -> npt.NDArray[np.float32]:
        """Return T, shape (n,)."""
        return (self._sum / self._images).astype(np.float32)

    def of_quorum(self, quorum: float) -> npt.NDArray[np.float32]:
        """Return T on the neurons of the quorum.

        :param quorum: share of the images, above 0, at most 1.
        :raises ValueError: if no neuron reaches it.
        """
        share = self._times_middle / self._images
        if share.max() < quorum:
            raise ValueError(
                "The neuron template is empty: no neuron is a middle neuron of a share of "
                f"{quorum:g} of the images. The largest quorum that is not empty here is "
                f'{share.max():.6g}; template="mean" is never empty.'
            )
        return np.where(share >= quorum, self.mean(), np.float32(0))


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
    on_device = adapter.tensor(template)
    return lambda x: similarity(middle_influence(adapter.influence(x), fractions), on_device)


@dataclass(frozen=True)
class Similarity(Retrieval):
    """The candidate whose δ [3] is closest to the image's own: the paper's (section III-F).

    For whoever wants the method as its equations say. The candidate found does not do measurably
    better than one drawn at random, whether the image's own benign version is in the bank or not;
    the README has the numbers. Of candidates with equal δ the first is taken.
    """

    name: ClassVar[str] = "similarity"

    def reader(
        self,
        adapter: EstimatorAdapter,
        fitted: Fitted,
        fractions: Sequence[float],
        clip_values: tuple[Any, Any],
    ) -> Reader:
        """Return the retrieval at work; see the base class."""
        return _SimilarityReader(adapter, fitted, fractions)


class _SimilarityReader(Reader):
    def __init__(
        self, adapter: EstimatorAdapter, fitted: Fitted, fractions: Sequence[float]
    ) -> None:
        super().__init__(adapter, fitted)
        order = np.argsort(fitted.bank.similarities, kind="stable")
        self._similarity = similarity_to(fitted.template, adapter, fractions)
        self._ascending = adapter.tensor(fitted.bank.similarities[order])
        self._candidate_at = adapter.rows(order)

    def candidate(self, x: Array) -> Array:
        return self._candidate_at(nearest(self._ascending, self._similarity(x)))
