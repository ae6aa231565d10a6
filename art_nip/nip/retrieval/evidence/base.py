"""Base classes of evidence: one holds parameters and may learn, one is the reader.

Evidence must not use the head that the attack went through.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.estimators.layers import Layer
from art_nip.nip.retrieval.context import Context
from art_nip.nip.retrieval.learner import Learner
from art_nip.utils.arrays import Array, namespace


@dataclass(frozen=True)
class Evidence(Learner):
    """What tells the class of an image without the head that an attack went through.

    Subclasses are frozen dataclasses of parameters.
    """

    differentiable: ClassVar[bool] = False
    """Whether `log_posterior` of its reader is differentiable, exactly, in the maps."""

    @abstractmethod
    def reader(self, context: Context) -> "EvidenceReader":
        """Return this evidence at work.

        :param context: the model, the range of the images, and what was fitted; `learned` of it is
            what `learn` returned.
        """


class EvidenceReader(ABC):
    """An evidence at work.

    :param layers: the layers whose outputs it needs from the forward pass for the model's logits.
    """

    def __init__(self, layers: tuple[Layer, ...] = ()) -> None:
        self.layers = layers

    @abstractmethod
    def log_posterior(self, x: Array, logits: Array, maps: list[Array]) -> Array:
        """Return log p(c | x), on the model's device, shape (N, nb_classes).

        :param x: images, shape (N, *input_shape).
        :param logits: the model's logits of the images, shape (N, nb_classes).
        :param maps: outputs of `layers`, each of shape (N, C, *places).
        """

    def surrogate_scores(self, x: Array, logits: Array, maps: list[Array]) -> Array:
        """Return scores of the classes whose gradients lead attacks best; parameters as above.

        Here they are log p(c | x). Where that is a mean over parts which a single part can hold, a
        sum over the parts leads better.
        """
        return self.log_posterior(x, logits, maps)

    def gradient(
        self, adapter: EstimatorAdapter, x: Array, logits: Array, classes: npt.NDArray[np.int64]
    ) -> Array:
        """Return the gradient of a class's surrogate score, or an approximation; shape of x.

        :param adapter: the model.
        :param x: images, shape (N, *input_shape).
        :param logits: the model's logits of the images, shape (N, nb_classes).
        :param classes: c of each image, shape (N,).
        """
        is_class = adapter.tensor(np.eye(adapter.nb_classes)[classes]) > 0

        def score(logits: Array, maps: list[Array]) -> Array:
            scores, xp = self.surrogate_scores(x, logits, maps), namespace(x)
            # Not a product: the score of a class that was never seen may be -inf.
            return xp.sum(xp.where(is_class, scores, xp.zeros_like(scores)), axis=1)

        return adapter.gradient(x, self.layers, score)
