"""Evidence of early layers: a linear discriminant tells which class their neurons suggest."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.estimators.layers import Call, Layer
from art_nip.nip.bank import LEARNED_PREFIX, check_finite
from art_nip.nip.retrieval.context import Context
from art_nip.nip.retrieval.early import layers_that_could_be_meant
from art_nip.nip.retrieval.evidence.base import Evidence, EvidenceReader
from art_nip.nip.retrieval.evidence.lda import Discriminant, Moments, best_temperature
from art_nip.nip.retrieval.evidence.probabilities import log_mean, log_softmax, softmax
from art_nip.nip.retrieval.learner import learned_array
from art_nip.nip.retrieval.vectors import neuron_vectors, pooled
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.validation import check_positive
from art_nip.utils.warned import warn

LONGEST_VECTOR = 2048
"""The largest number of values of a layer's vector, as far as pooling can reach it."""

IMAGES_PER_HELD_OUT = 5
"""One of this many images of a class is held out for the temperature."""

WEAK_ACCURACY = 0.9
"""If evidence gets a smaller share of the held-out benign images right, the fit warns."""


@dataclass(frozen=True)
class ShallowEvidence(Evidence):
    """Linear discriminants on what early layers give, which attacks on the output change least.

    For each layer: maps averaged over squares until at most 2,048 values are left, as vectors (see
    `neuron_vectors`); a linear discriminant of the classes on them with a shrunk covariance; its
    log-posteriors divided by a temperature. p(c | x) is the mean over layers. A class that the fit
    had no image of has probability 0: fit on images of all classes.

    The temperature is the one most likely on images that the discriminant was not learned from: the
    last fifth of each class in the order in which `fit` was given them. So frames of one scene,
    which are nearly the same, should be given together: a temperature from near-duplicates of what
    was learned is too low. Afterwards the discriminant is learned from all images.

    It suits pictures whose class shows in their layout, as that of traffic signs and digits does.
    On CIFAR-10 early layers tell too little of the class (VGG-19, fitted on 3,000 images: 0.77 of
    those held out, though the model had been trained on them): the fit warns, and other evidence is
    needed.

    :param layers: "auto" for up to four layers from the second convolution to the middle one; or a
        sequence of dotted names, as for the `layer` of :class:`art_nip.nip.parameters.Parameters`.
    :param shrinkage: shrinkage of the covariance, above 0, at most 1.
    """

    name: ClassVar[str] = "shallow"
    differentiable: ClassVar[bool] = True
    layers: Literal["auto"] | tuple[str, ...] = "auto"
    shrinkage: float = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (isinstance(self.layers, str) and self.layers == "auto"):
            object.__setattr__(self, "layers", _names(self.layers))
        check_positive("shrinkage", self.shrinkage, most=1)

    def settled(self, context: Context) -> "ShallowEvidence":
        """Return this evidence with the layers that "auto" stands for; see the base class."""
        found = context.adapter.find_layers(self.layers, early_layers)
        return replace(self, layers=tuple(map(str, found)))

    def learn(
        self,
        context: Context,
        images: Callable[[], Iterator[Array]],
        labels: npt.NDArray[np.int64],
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Return each layer's `weights` and `bias`, float32, divided by its temperature.

        :raises ValueError: if no class has five images, or a layer gives the same for all.
        """
        held_out = last_share(labels)
        if not held_out.any():
            raise ValueError(
                f"Evidence needs a class with at least {IMAGES_PER_HELD_OUT} benign images (for "
                f'"class" retrieval, that the model classifies correctly); of {len(labels)} none '
                "has. Fit on more images."
            )
        moments: list[Moments] = []
        for vectors, of, held in self._seen(context.adapter, images, labels, held_out):
            classes = context.adapter.nb_classes
            moments = moments or [Moments(classes, of_layer.shape[1]) for of_layer in vectors]
            for moment, of_layer in zip(moments, vectors, strict=True):
                moment.add(of_layer[~held], of[~held])
        discriminants = self._discriminants(moments)
        unseen: list[list[npt.NDArray[np.float64]]] = [[] for _ in moments]
        for vectors, of, held in self._seen(context.adapter, images, labels, held_out):
            for place, of_layer in enumerate(vectors):
                unseen[place].append(discriminants[place].scores(of_layer[held]))
                moments[place].add(of_layer[held], of[held])
        scores = [np.concatenate(of_layer) for of_layer in unseen]
        temperatures = [best_temperature(of_layer, labels[held_out]) for of_layer in scores]
        _warn_of_weakness(scores, temperatures, labels[held_out])
        return {
            f"{name}.{place}": array.astype(np.float32)
            for place, discriminant in enumerate(self._discriminants(moments))
            for name, array in discriminant.cooled(temperatures[place])._asdict().items()
        }

    def _seen(
        self,
        adapter: EstimatorAdapter,
        images: Callable[[], Iterator[Array]],
        labels: npt.NDArray[np.int64],
        held_out: npt.NDArray[np.bool_],
    ) -> Iterator[
        tuple[list[npt.NDArray[np.float32]], npt.NDArray[np.int64], npt.NDArray[np.bool_]]
    ]:
        """Return vectors of each layer, labels, and which are held out, some images at a time."""
        layers, start = self._places(), 0
        for batch in images():
            rows = slice(start, start + len(batch))
            maps = adapter.activations(batch, layers)
            yield (
                [adapter.numpy(_vectors(of_layer)) for of_layer in maps],
                labels[rows],
                held_out[rows],
            )
            start = rows.stop

    def _discriminants(self, moments: list[Moments]) -> list[Discriminant]:
        found = []
        for layer, moment in zip(self.layers, moments, strict=True):
            try:
                found.append(moment.discriminant(self.shrinkage))
            except ValueError as error:
                raise ValueError(f"Layer {layer!r} tells no class: {error}.") from error
        return found

    def check_learned(self, context: Context) -> None:
        """Check each layer's `weights` and `bias`; see the base class."""
        adapter = context.adapter
        image, classes = adapter.tensor(np.zeros((1, *adapter.input_shape))), adapter.nb_classes
        for place, maps in enumerate(adapter.activations(image, self._places())):
            name, width = f"weights.{place}", _vectors(maps).shape[1]
            weights = learned_array(context, name, "float32", width, classes)
            check_finite(LEARNED_PREFIX + name, weights)
            # A class that was not among those learned from has -inf.
            bias = learned_array(context, f"bias.{place}", "float32", classes)
            if not (np.isfinite(bias) | np.isneginf(bias)).all() or np.isneginf(bias).all():
                raise ValueError(f"its array '{LEARNED_PREFIX}bias.{place}' tells no class")

    def reader(self, context: Context) -> EvidenceReader:
        """Return the evidence at work; see the base class."""
        layers, learned, tensor = self._places(), context.learned, context.adapter.tensor
        discriminants = [
            (tensor(learned[f"weights.{place}"]), tensor(learned[f"bias.{place}"]))
            for place in range(len(layers))
        ]
        return _ShallowReader(layers, discriminants, context.adapter)

    def _places(self) -> tuple[Layer, ...]:
        return tuple(map(Layer.parse, self.layers))


class _ShallowReader(EvidenceReader):
    def __init__(
        self,
        layers: tuple[Layer, ...],
        discriminants: Sequence[tuple[Array, Array]],
        adapter: EstimatorAdapter,
    ) -> None:
        super().__init__(layers)
        self._discriminants = discriminants
        self._of_maps = adapter.compiled(self._posterior)

    def log_posterior(self, x: Array, logits: Array, maps: list[Array]) -> Array:
        return self._of_maps(*maps)

    def surrogate_scores(self, x: Array, logits: Array, maps: list[Array]) -> Array:
        # A layer that is sure holds the mean, whose gradient is that of the other layers.
        return sum(log_softmax(scores) for scores in self._scores(maps))

    def _posterior(self, *maps: Array) -> Array:
        return log_mean([softmax(scores) for scores in self._scores(maps)])

    def _scores(self, maps: Sequence[Array]) -> list[Array]:
        matmul = namespace(maps[0]).matmul
        return [
            matmul(_vectors(of_layer), weights) + bias
            for of_layer, (weights, bias) in zip(maps, self._discriminants, strict=True)
        ]


def _vectors(maps: Array) -> Array:
    return neuron_vectors(pooled(maps, LONGEST_VECTOR))


def last_share(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which images are among the last fifth of their class, rounded down, shape (M,).

    :param labels: classes, shape (M,).
    """
    share = np.zeros(len(labels), np.bool_)
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        share[places[len(places) - len(places) // IMAGES_PER_HELD_OUT :]] = True
    return share


def _names(layers: Any) -> tuple[str, ...]:
    named = isinstance(layers, (list, tuple)) and all(isinstance(layer, str) for layer in layers)
    if not named or not layers:
        raise TypeError(f"layers={layers!r}; give a sequence of layers' names, or 'auto'.")
    return tuple(layers)


def _warn_of_weakness(
    scores: list[npt.NDArray[np.float64]],
    temperatures: list[float],
    labels: npt.NDArray[np.int64],
) -> None:
    probabilities = [softmax(s / of) for s, of in zip(scores, temperatures, strict=True)]
    right = float((sum(probabilities).argmax(axis=1) == labels).mean())
    if right < WEAK_ACCURACY:
        warn(
            f"Early layers tell the class of only {right:.0%} of the benign images held out: where "
            "their evidence decides, the others turn wrong, also those that the model gets right. "
            "Name other layers, or take other evidence, such as GradedViewEvidence."
        )


def early_layers(calls: Sequence[Call]) -> tuple[Layer, ...]:
    """Return up to four layers that tell a class before the deciding part of the model.

    They are the inputs of convolutions, from the second one to the middle one, spaced as evenly as
    possible; if there are fewer than two, the output of the last convolution is added.

    :param calls: the layers in the order in which a forward pass called them.
    :raises ValueError: if there is no convolution among them; the message lists the layers.
    """
    names = list(dict.fromkeys(call.name for call in calls if call.kind == "convolution"))
    if not names:
        raise ValueError(
            'layers="auto" looks for convolutions that the model calls once in a pass, with a row '
            "for each image, and there is none. Name layers: "
            f"{layers_that_could_be_meant(calls)}."
        )
    early = [Layer(name, "input") for name in names[1 : len(names) // 2 + 1]]
    if len(early) < 2:
        return (*early, Layer(names[-1]))
    places = np.linspace(0, len(early) - 1, min(4, len(early))).round().astype(int)
    return tuple(early[place] for place in places)
