"""How an image finds its candidate.

The paper's way: by one number, the similarity δ of its middle neurons to the neuron template.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.namespace import Array, namespace
from art_nip.neurons import middle_influence, similarity


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


class SimilarityRetrieval:
    """The candidate whose δ [3] is closest to the image's own (section III-F).

    On unseen images the candidate found so does not do measurably better than a random one; the
    README has the numbers.

    :param template: T, shape (n,).
    :param similarities: δ of the candidates, shape (M,).
    :param fractions: shares of the front, middle and tail part.
    :param tensor: puts an array on the model's device.
    :param rows: gives for an array the function from indices to its rows there.
    """

    def __init__(
        self,
        template: npt.NDArray[np.float32],
        similarities: npt.NDArray[np.float32],
        fractions: Sequence[float],
        tensor: Callable[[npt.NDArray[Any]], Array],
        rows: Callable[[npt.NDArray[Any]], Callable[[Array], Array]],
    ) -> None:
        order = np.argsort(similarities, kind="stable")
        self._fractions = fractions
        self._template = tensor(template)
        self._ascending = tensor(similarities[order])
        self._candidate_at = rows(order)

    def similarity(self, influence: Array) -> Array:
        """Return δ of each image.

        :param influence: σ, shape (N, n).
        :return: shape (N,).
        """
        return similarity(middle_influence(influence, self._fractions), self._template)

    def __call__(self, influence: Array) -> Array:
        """Return the index of each image's candidate.

        :param influence: σ, shape (N, n).
        :return: integers, shape (N,); of candidates with equal δ the first.
        """
        return self._candidate_at(nearest(self._ascending, self.similarity(influence)))
