"""Retrieval by a mixture: what the model says of the image, and a little of what evidence says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from art_nip.nip.retrieval.base import Function
from art_nip.nip.retrieval.class_evidence import ClassEvidence, ClassReader, Indices
from art_nip.nip.retrieval.context import Context
from art_nip.nip.retrieval.evidence.probabilities import lead_of, log_softmax
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.validation import check_number, check_positive

if TYPE_CHECKING:
    from art_nip.nip.retrieval.base import Retrieval

SOFTER = 5.0
"""Factor on the temperature of the mixture that attacks follow."""


@dataclass(frozen=True)
class MixedEvidence(ClassEvidence):
    """The model's own probabilities, mixed with those that evidence gives: for robust models.

    An adversarially trained model is seldom sure where it is wrong, and its verdict is worth
    keeping where it is sure. The mixture p = (1 − w)·softmax(z) + w·softmax(e/T) keeps it, with z
    the model's logits and e the evidence's log p(c | x): a class that leads all others by more than
    w/(1 − w) in the model's probabilities wins, whatever the evidence says. So an attack on
    evidence alone, which decides with :class:`ClassEvidence`, reaches only images of which the
    model is unsure. Bai et al., "Improving the accuracy-robustness trade-off of classifiers via
    adaptive smoothing" (2024), mix a robust and an accurate model so, and their "MixedNUTS" (2024)
    makes the robust one surer first. Here linear discriminants on layers of the robust model are
    the accurate one, and cost no second pass.

    A classifier that NIP is attached to gives the mixture itself, as logits or as probabilities,
    whichever its model gives. It is exactly differentiable, so that attacks through it see true
    gradients. Images that NIP is called with are changed until the model says what the mixture
    does, as with `ClassEvidence`; that costs steps and hides gradients, and is for those who need a
    preprocessor.

    It cannot help a model that is not robust: where an attack leaves the model sure of the wrong
    class, the mixture is as wrong. Nor does it pay where evidence knows no more than the model, as
    on CIFAR-10. What it does to robust ones is in docs/results/mixed.md. The fit
    learns from all images that it is given, also from those that the model gets wrong: these are
    the ones that are to change. `art_nip.benchmark.choose_mixture` finds w and T on other images.

    :param evidence: "shallow", the default, or :class:`ShallowEvidence` with other layers; or your
        own if it is `differentiable`.
    :param steps: of changed images; see :class:`ClassEvidence`, as `lead` and `step`.
    :param weight: w, from 0 (the model alone) to 1 (the evidence alone).
    :param temperature: T, above 0; the larger, the less sure is the evidence.
    """

    name: ClassVar[str] = "mixed"
    answers: ClassVar[bool] = True
    learns_from_wrong: ClassVar[bool] = True
    weight: float = 0.1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("weight", self.weight, low=0, high=1)
        check_positive("temperature", self.temperature)
        if not self.evidence.differentiable:
            raise ValueError(
                f"evidence={self.evidence!r} has no exact gradient, and a mixture needs one, so "
                "that attacks are not misled: take ShallowEvidence."
            )

    def learns_as(self, other: Retrieval) -> bool:
        """Return whether another differs in weight, temperature or steps only."""
        return isinstance(other, MixedEvidence) and self.evidence == other.evidence

    def reader(self, context: Context) -> MixedReader:
        """Return the retrieval at work; see the base class."""
        return MixedReader(context, self)


class MixedReader(ClassReader):
    """Mixed evidence at work.

    :param context: the model, the range of the images, and what was fitted.
    :param retrieval: its parameters.
    """

    def __init__(self, context: Context, retrieval: MixedEvidence) -> None:
        super().__init__(context, retrieval)
        self._weight, self._temperature = retrieval.weight, retrieval.temperature

    def answers(self, x: Array) -> Array:
        """Return what the defended model gives, of the kind that the model gives; differentiable.

        :param x: images, shape (N, *input_shape), in the graph or on the tape of the caller.
        :return: log p(c | x), or p(c | x) if the model gives probabilities, (N, nb_classes).
        """
        mixture = self._mixture(x, *self._adapter.connected(x, self.evidence.layers))
        # 0, or NaN for images that are NaN or infinite somewhere: ReLUs may make numbers of these.
        known = namespace(x).sum(self._adapter.constant(x) * 0, axis=tuple(range(1, x.ndim)))
        return self._adapter.outputs_of(mixture + known[:, None])

    def surrogate_losses(
        self, x: Array, classes: Indices, added: Callable[[Array, Array], Array]
    ) -> list[tuple[Function, Function]]:
        """Return those of a softer mixture, of the model and of the evidence; see the base class.

        Sure evidence has hardly a gradient in the mixture itself, which attacks on the classifier
        follow anyway. Parts that are sure already still become surer.
        """
        adapter, evidence, layers = self._adapter, self.evidence, self.evidence.layers

        def loss(
            scores: Callable[[Array, Array, list[Array]], Array],
        ) -> tuple[Function, Function]:
            return (
                lambda: scores(x, *adapter.logits_and_activations(x, layers)),
                lambda: adapter.gradient(
                    x,
                    layers,
                    lambda logits, maps: lead_of(scores(x, logits, maps), adapter, classes),
                ),
            )

        return [
            loss(
                lambda x, logits, maps: self._mixed(
                    logits, self.evidence.log_posterior(x, logits, maps) / SOFTER
                )
            ),
            loss(lambda x, logits, maps: logits),
            loss(evidence.surrogate_scores),
        ]

    def _scores(self, x: Array) -> tuple[Array, Array]:
        logits, posterior = super()._scores(x)
        return logits, self._mixed(logits, posterior)

    def _mixture(self, x: Array, logits: Array, maps: list[Array]) -> Array:
        return self._mixed(logits, self.evidence.log_posterior(x, logits, maps))

    def _mixed(self, logits: Array, posterior: Array) -> Array:
        """Return the logarithm of the mixture, shape (N, nb_classes)."""
        model = log_softmax(logits)
        evidence = log_softmax(posterior / self._temperature)
        if self._weight in (0, 1):
            return evidence if self._weight else model
        xp = namespace(logits)
        model = model + math.log(1 - self._weight)
        evidence = evidence + math.log(self._weight)
        # Not the logarithm of a sum of probabilities, which may all be rounded to 0.
        most = xp.maximum(model, evidence)
        return most + xp.log(xp.exp(model - most) + xp.exp(evidence - most))
