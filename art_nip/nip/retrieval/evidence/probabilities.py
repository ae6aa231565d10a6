"""From scores to probabilities and back, and how far a class is ahead; for every framework."""

from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.utils.arrays import Array, namespace

FAR = 1e30
"""A score below all that classes have."""

PROBABILITY_OFFSET = 1e-4
"""Added to probabilities before their logarithm is taken, so that no class is impossible."""


def softmax(scores: Array) -> Array:
    """Return the probabilities whose logarithms differ as scores do, shape (N, nb_classes)."""
    xp = namespace(scores)
    exponents = xp.exp(scores - xp.max(scores, axis=1, keepdims=True))
    return exponents / xp.sum(exponents, axis=1, keepdims=True)


def log_softmax(scores: Array) -> Array:
    """Return log-probabilities that differ as scores do, shape (N, nb_classes)."""
    xp = namespace(scores)
    ahead = scores - xp.max(scores, axis=1, keepdims=True)
    return ahead - xp.log(xp.sum(xp.exp(ahead), axis=1, keepdims=True))


def log_mean(probabilities: list[Array]) -> Array:
    """Return log(mean + 1e-4) of several probabilities, each of shape (N, nb_classes)."""
    mean = sum(probabilities) / len(probabilities)
    return namespace(probabilities[0]).log(mean + PROBABILITY_OFFSET)


def lead_of(scores: Array, adapter: EstimatorAdapter, classes: npt.NDArray[np.int64]) -> Array:
    """Return by how much each image's class is ahead of all others, shape (N,), differentiable.

    :param scores: shape (N, nb_classes).
    :param adapter: of the model on whose device they are.
    :param classes: shape (N,).
    """
    xp, is_class = namespace(scores), adapter.tensor(np.eye(adapter.nb_classes)[classes]) > 0
    none = xp.zeros_like(scores)
    # Not a product: the score of a class that was never seen may be -inf.
    ahead = xp.sum(xp.where(is_class, scores, none), axis=1)
    return ahead - xp.max(xp.where(is_class, none - FAR, scores), axis=1)


def lead(logits: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return by how much each image's class is ahead of all others, shape (N,).

    :param logits: shape (N, nb_classes).
    :param classes: shape (N,).
    """
    others, rows = logits.copy(), np.arange(len(logits))
    others[rows, classes] = -np.inf
    ahead: npt.NDArray[Any] = logits[rows, classes] - others.max(axis=1)
    return ahead
