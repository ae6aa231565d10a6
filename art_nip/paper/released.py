"""The evaluation of the paper's released code, in our own words and code.

The authors published code in August 2021, on GitHub at
Allen-piexl/NIP-Neuron-level-Inverse-Perturbation.
What it evaluates is not section III of the paper: an adversarial image receives the inverse
perturbation of its own benign version, paired by index, and the label decides its sign.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import adapter_for
from art_nip.metrics import predicted_classes
from art_nip.nip import neurons
from art_nip.nip.parameters import Parameters, check_part_sizes
from art_nip.utils.ranges import PixelRange
from art_nip.utils.validation import (
    check_choice,
    check_classifier,
    check_images,
    check_positive,
    check_whole,
    numeric,
)

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

NO_DEFENCE = (
    "The released evaluation is no defence, and cannot be attached to a classifier: to defend an "
    "image it needs the benign version of that very image, and the class of it, which is what a "
    "classifier is asked for. Attach NIPPreprocessor.for_estimator(classifier); for the numbers of "
    "the released code call evaluate(classifier, benign, adversarial)."
)


@dataclass(frozen=True)
class Repaired:
    """Which adversarial images are classified as their benign versions are.

    :param without_label: after one step along ρ, shape (N,).
    :param with_label: after one step along ρ, or along −ρ where that one fails, shape (N,).
    """

    without_label: Mask
    with_label: Mask


@dataclass(frozen=True)
class ReleasedEvaluation:
    """What the released code evaluates: the protocol "released".

    ρ of the image's own benign version is divided by its root mean square and multiplied by `step`.
    Where the image is then not classified as its benign version was, −ρ is tried, and counts.

    :param direction: "own", or "noise": Gaussian noise in place of ρ, as a control.
    :param step: root mean square of what is added, a share of the images' range.
    :param k1: how many front neurons ρ strengthens [4].
    :param k2: how many tail neurons ρ weakens [4].
    :param layer: the layer of the neurons, as of :class:`art_nip.nip.parameters.Parameters`.
    :param seed: of the noise.
    :raises ValueError: if a parameter is not allowed.
    """

    direction: str = "own"
    step: float = 0.001
    k1: int = 1
    k2: int = 5
    layer: str = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("direction", self.direction, ("own", "noise"))
        check_positive("step", self.step, most=1)
        if not isinstance(self.layer, str):
            raise TypeError(f"layer={self.layer!r}; give a layer's name, or 'auto'.")
        for name in ("k1", "k2", "seed"):
            check_whole(name, getattr(self, name), least=0)
        if self.k1 == self.k2 == 0:
            raise ValueError("k1 and k2 are both 0: ρ would be zero. Set one of them.")

    def evaluate(
        self, classifier: Any, benign: npt.ArrayLike, adversarial: npt.ArrayLike
    ) -> Repaired:
        """Return which adversarial images are put right, with and without the label.

        :param classifier: an ART classifier with `clip_values`, of PyTorch or TensorFlow.
        :param benign: images, shape (N, *input_shape), within `clip_values`.
        :param adversarial: the attacked images, in the same order.
        :raises TypeError: if images are no numbers, or the classifier is none to look into.
        :raises ValueError: if images are not as above, or not as many of each, if the classifier
            has no `clip_values`, or the layer fewer neurons than `k1` and `k2` ask for.
        """
        check_classifier(classifier, "The released evaluation")
        if classifier.clip_values is None:
            raise ValueError(
                "The classifier has no clip_values, and the step is a share of them: give it "
                "clip_values=(min, max), the range of the images."
            )
        before, after = numeric(benign), numeric(adversarial)
        for images in (before, after):
            check_images(images, tuple(classifier.input_shape), classifier.clip_values)
        if len(before) != len(after):
            raise ValueError(
                f"There are {len(before)} benign and {len(after)} adversarial images; give the "
                "benign version of each, in the same order."
            )
        if not len(before):
            return Repaired(np.zeros(0, bool), np.zeros(0, bool))
        pixels = PixelRange.of(classifier.clip_values)
        classes = predicted_classes(classifier.predict(before))
        added = pixels.span * self._added(classifier, before)

        def right(sign: int) -> Mask:
            moved = np.clip(after + sign * added, pixels.low, pixels.high, dtype=np.float32)
            mask: Mask = predicted_classes(classifier.predict(moved)) == classes
            return mask

        forward = right(1)
        return Repaired(forward, forward | right(-1))

    def attach(self, classifier: Any) -> NoReturn:
        """Raise a TypeError: this is no defence.

        :param classifier: anything.
        """
        raise TypeError(NO_DEFENCE)

    def _added(self, classifier: Any, benign: Floats) -> Floats:
        if self.direction == "noise":
            rng = np.random.default_rng(self.seed)
            rho = rng.standard_normal(benign.shape, np.float32)
        else:
            rho = own_perturbations(classifier, benign, self.k1, self.k2, self.layer)
        flat = rho.reshape(len(rho), -1)
        # Divided by the largest first, so that squares of tiny gradients do not underflow.
        flat = flat / np.maximum(np.abs(flat).max(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        size = np.sqrt(np.square(flat).mean(axis=1, keepdims=True))
        unit: Floats = (flat / np.where(size > 0, size, 1)).reshape(rho.shape)
        return self.step * unit


def own_perturbations(
    classifier: Any,
    benign: Floats,
    k1: int = 5,
    k2: int = 5,
    layer: str = "auto",
    batch_size: int = 128,
) -> Floats:
    """Return ρ [5] of each image, in units of the range: the candidate that is the image's own.

    :param classifier: as of :meth:`ReleasedEvaluation.evaluate`.
    :param benign: images, shape (N, *input_shape), within `clip_values`.
    :param k1: how many front neurons ρ strengthens [4].
    :param k2: how many tail neurons ρ weakens [4].
    :param layer: the layer of the neurons.
    :param batch_size: how many images the model sees at once.
    :return: float32, shape of `benign`.
    """
    adapter = adapter_for(classifier, layer, "probability", "The released evaluation")
    check_part_sizes(adapter.n_neurons, k1, k2, Parameters.fractions)
    observe = adapter.observer(partial(neurons.perturbation_weights, k1=k1, k2=k2))
    found = np.empty_like(benign)
    for start in range(0, len(benign), batch_size):
        rows = slice(start, start + batch_size)
        found[rows] = adapter.numpy(observe(adapter.tensor(benign[rows]))[2])
    span = PixelRange.of(classifier.clip_values).span
    ranged: Floats = np.asarray(span * found, np.float32)
    return ranged


def defended_by_own(classifier: Any, benign: Floats, adversarial: Floats) -> Floats:
    """Return adversarial images after equation 7 with ρ̂ of their own benign versions.

    :param classifier: as of :meth:`ReleasedEvaluation.evaluate`.
    :param benign: images, shape (N, *input_shape), within `clip_values`.
    :param adversarial: the attacked images, in the same order.
    """
    rho = neurons.normalised(own_perturbations(classifier, benign))
    pixels = PixelRange.of(classifier.clip_values)
    moved: Floats = np.asarray(neurons.defended(adversarial, rho, 1.0, pixels), np.float32)
    return moved
