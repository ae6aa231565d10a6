"""The weight and the temperature of mixed evidence, chosen on images by a budget of robustness."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.attacks.steering import SteeringAttack
from art_nip.nip.preprocessor import NIPPreprocessor
from art_nip.nip.retrieval import MixedEvidence
from art_nip.utils.validation import (
    check_classifier,
    check_images,
    check_number,
    class_indices,
    numeric,
)

WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.5)


@dataclass(frozen=True)
class MixtureAccuracy:
    """What a mixture gets right.

    :param retrieval: the mixture.
    :param benign: share of the images that it gets right.
    :param robust: share of the images that it gets right, attacked or not.
    """

    retrieval: MixedEvidence
    benign: float
    robust: float


def choose_mixture(
    nip: NIPPreprocessor,
    classifier: Any,
    x: npt.NDArray[np.float32],
    y: npt.ArrayLike,
    *,
    budget: float = 0.01,
    weights: Sequence[float] = WEIGHTS,
    temperatures: Sequence[float] = (1.0,),
    **attack: Any,
) -> tuple[MixedEvidence, list[MixtureAccuracy]]:
    """Return the mixture with the best benign accuracy that costs no more robustness than allowed.

    Each mixture is attacked by :class:`art_nip.attacks.SteeringAttack`, which follows the mixture,
    the model and the evidence. The model alone, weight 0, is one of them, so that there always is
    one within the budget. The chosen one is for `nip.set_params(retrieval=chosen)`, which keeps the
    fit. What was chosen on images looks better on these than on others: report it on others.

    :param nip: a fitted NIP with "mixed" retrieval; it stays as it is.
    :param classifier: the classifier that it was fitted for.
    :param x: images that neither the model nor NIP has learned from, shape (N, *input_shape): a
        point of accuracy is one in a hundred of them.
    :param y: their classes, shape (N,), or one-hot, shape (N, nb_classes).
    :param budget: by how much the share of images that withstand the attack may be below that of
        the model alone, from 0 to 1.
    :param weights: those that are tried, besides 0.
    :param temperatures: those that are tried with each weight.
    :param attack: parameters of the attack, such as `eps`, a share of the range; see there.
    :return: the chosen retrieval, and what all have, the model alone first.
    :raises TypeError: if nip or classifier is none.
    :raises ValueError: if the retrieval is another, images or classes are not as above, or a
        parameter is not allowed.
    """
    check_classifier(classifier, "choose_mixture")
    if not isinstance(nip, NIPPreprocessor):
        raise TypeError(f"nip is a {type(nip).__name__}; give a fitted NIPPreprocessor.")
    given = nip.retrieval
    if not isinstance(given, MixedEvidence):
        raise ValueError(
            f'The retrieval of this NIP is {given!r}, and only "mixed" has a weight to choose: '
            'make a NIP with retrieval="mixed".'
        )
    check_number("budget", budget, low=0, high=1)
    for name, values in (("weights", weights), ("temperatures", temperatures)):
        if np.ndim(values) != 1:
            raise ValueError(f"{name}={values!r}; give a list of numbers, such as [0.1, 0.3].")
    images = numeric(x)
    check_images(images, tuple(classifier.input_shape), classifier.clip_values)
    if not len(images):
        raise ValueError(
            "There is no image to choose the mixture on: give some, and their classes."
        )
    labels = class_indices(y, len(images), classifier.nb_classes)
    mixtures = [replace(given, weight=0)]
    mixtures += [
        replace(given, weight=weight, temperature=temperature)
        for weight, temperature in product(weights, temperatures)
    ]
    found = [_accuracy(nip, classifier, mixture, images, labels, attack) for mixture in mixtures]
    # Shares of images are rounded, and one that costs the budget exactly is allowed.
    allowed = [each for each in found if each.robust >= found[0].robust - budget - 1e-9]
    best = max(allowed, key=lambda each: (each.benign, each.robust))
    return best.retrieval, found


def _accuracy(
    nip: NIPPreprocessor,
    classifier: Any,
    mixture: MixedEvidence,
    x: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    parameters: dict[str, Any],
) -> MixtureAccuracy:
    other = copy.copy(nip)
    other.set_params(retrieval=mixture)
    defended = other.attach(classifier)
    attack = SteeringAttack(defended, **{"seed": 0, "verbose": False, **parameters})
    right = defended.predict(x).argmax(axis=1) == labels
    robust = right & (defended.predict(attack.generate(x, labels)).argmax(axis=1) == labels)
    return MixtureAccuracy(mixture, float(right.mean()), float(robust.mean()))
