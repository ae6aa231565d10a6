"""Linear discriminant analysis with shrinkage, learned from batches, and its temperature.

The analysis is that of scikit-learn's `LinearDiscriminantAnalysis(solver="lsqr", shrinkage=…)`,
which needs all vectors in memory at once; the code here needs only their sums and products.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from art_nip.nip.retrieval.evidence.probabilities import softmax

TEMPERATURES = np.geomspace(0.1, 100, 300)
LEAST_VARIANCE = 1e-10
"""The least variance within classes, summed over the values of vectors of length 1."""


class Discriminant(NamedTuple):
    """Scores vectors · weights + bias: log-posteriors up to a number that all classes share.

    :param weights: shape (d, classes).
    :param bias: shape (classes,); -inf for a class that was not among those learned from.
    """

    weights: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]

    def scores(self, vectors: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return scores, shape (N, classes), of vectors, shape (N, d)."""
        scores: npt.NDArray[np.float64] = vectors @ self.weights + self.bias
        return scores

    def cooled(self, temperature: float) -> "Discriminant":
        """Return the discriminant whose scores are divided by a temperature."""
        return Discriminant(self.weights / temperature, self.bias / temperature)


class Moments:
    """Sums and products of vectors, by class, which determine the discriminant.

    :param classes: number of classes.
    :param width: length of the vectors, d.
    """

    def __init__(self, classes: int, width: int) -> None:
        self._count = np.zeros(classes)
        self._sums = np.zeros((classes, width))
        self._products = np.zeros((width, width))

    def add(self, vectors: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> None:
        """Add vectors, shape (N, d), of the classes `labels`, shape (N,)."""
        exact = vectors.astype(np.float64)
        is_class = np.eye(len(self._count))[labels]
        self._count += is_class.sum(axis=0)
        self._sums += is_class.T @ exact
        self._products += exact.T @ exact

    def discriminant(self, shrinkage: float) -> Discriminant:
        """Return the discriminant.

        With M_c the mean of class c, π_c its share of all vectors, and S the covariance within
        classes: S' = (1 − s)·S + s·(tr S / d)·I, w_c = S'⁻¹ M_c, b_c = −½ M_c·w_c + log π_c.

        :param shrinkage: s, above 0, at most 1.
        :raises ValueError: if vectors do not vary within classes.
        """
        there = self._count > 0
        count, total = self._count[there, None], self._count.sum()
        means = self._sums[there] / count
        within = (self._products - (means * count).T @ means) / total
        trace = np.trace(within)
        if trace < LEAST_VARIANCE:
            raise ValueError("the images of each class are all alike there")
        shrunk = (1 - shrinkage) * within
        shrunk.flat[:: len(shrunk) + 1] += shrinkage * trace / len(shrunk)
        weights = np.zeros((len(shrunk), len(self._count)))
        weights[:, there] = np.linalg.solve(shrunk, means.T)
        bias = np.full(len(self._count), -np.inf)
        bias[there] = np.log(count[:, 0] / total) - (means.T * weights[:, there]).sum(axis=0) / 2
        return Discriminant(weights, bias)


def best_temperature(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Return the T with which softmax(scores / T) gives the labels the highest likelihood.

    Guo et al., "On calibration of modern neural networks" (2017).

    :param scores: scores of vectors that the discriminant did not learn from, shape (N, classes).
    :param labels: their classes, shape (N,).
    """

    def loss(temperature: float) -> float:
        of_label = softmax(scores / temperature)[np.arange(len(labels)), labels]
        return -float(np.log(np.maximum(of_label, np.finfo(np.float64).tiny)).mean())

    return float(min(TEMPERATURES, key=loss))
