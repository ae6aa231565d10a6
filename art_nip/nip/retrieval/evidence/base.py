"""The seam that every evidence is a class behind: what it learns, and how it speaks of an image.

It must not ask the head that the attack went through.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.estimators.layers import Layer
from art_nip.nip.retrieval.learner import Learner
from art_nip.utils.arrays import Array, namespace

LEAST = 1e-4
"""Added to probabilities before their logarithm is taken."""


@dataclass(frozen=True)
class Evidence(Learner):
    """What tells the class of an image without the head that an attack went through.

    Subclasses are frozen dataclasses of parameters.
    """

    @abstractmethod
    def reader(
        self,
        adapter: EstimatorAdapter,
        learned: dict[str, npt.NDArray[Any]],
        clip_values: tuple[Any, Any],
    ) -> "EvidenceReader":
        """Return this evidence at work.

        :param adapter: the model.
        :param learned: what `learn` returned.
        :param clip_values: range (min, max) of the images, numbers or nested lists.
        """


class EvidenceReader(ABC):
    """An evidence at work.

    :param layers: what it needs to see of the forward pass that gives the model's logits.
    """

    def __init__(self, layers: tuple[Layer, ...] = ()) -> None:
        self.layers = layers

    @abstractmethod
    def log_posterior(self, x: Array, logits: Array, maps: list[Array]) -> Array:
        """Return log p(c | x), on the model's device, shape (N, nb_classes).

        :param x: images, shape (N, *input_shape).
        :param logits: what the model says of them, shape (N, nb_classes).
        :param maps: what `layers` give, each of shape (N, C, *places).
        """

    def gradient(
        self, adapter: EstimatorAdapter, x: Array, logits: Array, classes: npt.NDArray[np.int64]
    ) -> Array:
        """Return ∂ log p(c | x)/∂x, or what comes near it, for attacks; shape of x.

        :param adapter: the model.
        :param x: images, shape (N, *input_shape).
        :param logits: what the model says of them, shape (N, nb_classes).
        :param classes: c of each, shape (N,).
        """
        weights = adapter.tensor(np.eye(adapter.nb_classes)[classes])
        return adapter.gradient(
            x,
            self.layers,
            lambda logits, maps: namespace(x).sum(
                self.log_posterior(x, logits, maps) * weights, axis=1
            ),
        )


def lead(logits: npt.NDArray[np.float32], classes: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Return by how much each image's class is ahead of all others, shape (N,).

    :param logits: shape (N, nb_classes).
    :param classes: shape (N,).
    """
    others, rows = logits.copy(), np.arange(len(logits))
    others[rows, classes] = -np.inf
    ahead: npt.NDArray[Any] = logits[rows, classes] - others.max(axis=1)
    return ahead


def log_mean(probabilities: list[Array]) -> Array:
    """Return log(mean + 1e-4) of several probabilities, each of shape (N, nb_classes)."""
    return namespace(probabilities[0]).log(sum(probabilities) / len(probabilities) + LEAST)


def softmax(scores: Array) -> Array:
    """Return the probabilities whose logarithms differ as scores do, shape (N, nb_classes)."""
    xp = namespace(scores)
    exponents = xp.exp(scores - xp.max(scores, axis=1, keepdims=True))
    return exponents / xp.sum(exponents, axis=1, keepdims=True)
