"""APGD for classifiers with defences, in single precision, and towards several targets."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.attacks import evasion

from art_nip.attacks.base import Array, Floats, true_or_predicted
from art_nip.attacks.gradient_estimators import averaged, of_one_scale
from art_nip.attacks.in_unit_range import in_unit_range, range_taken
from art_nip.attacks.parameters import UnsuitableClassifierError, is_linf
from art_nip.estimators.single_precision import single_precision
from art_nip.utils.frameworks import code_of, framework_of
from art_nip.utils.validation import check_whole

LEAST_CLASSES_OF_DLR = 3
"""The difference of logits ratio is of the first, the second and the third score."""

OF_PROBABILITIES = "seems to predict probabilities"
"""What ART says of classifiers whose losses APGD cannot take."""


class AutoProjectedGradientDescent(evasion.AutoProjectedGradientDescent):  # type: ignore[misc]
    """APGD of Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
    diverse parameter-free attacks" (2020).

    ART's gives the model float64, knows one target, and takes no model that gives probabilities:
    their logarithms are logits.

    :param targets: 0 leads away from the true class; k towards each of the k others with the
        highest scores, one after the other, until one is reached.
    :param draws: over how many draws gradients are averaged where they are random.
    """

    made_as_art_does = True
    attack_params = [  # noqa: RUF012 - as ART has it
        *evasion.AutoProjectedGradientDescent.attack_params,
        *("targets", "draws"),
    ]

    def __init__(
        self,
        estimator: Any,
        norm: float | str = np.inf,
        eps: float = 0.3,
        eps_step: float = 0.1,
        max_iter: int = 100,
        nb_random_init: int = 5,
        batch_size: int = 32,
        loss_type: str | None = None,
        targets: int = 0,
        draws: int = 8,
        verbose: bool = True,
    ) -> None:
        check_whole("targets", targets, least=0)
        check_whole("draws", draws, least=1)
        given = {
            "norm": norm,
            "eps": eps,
            "eps_step": eps_step,
            "max_iter": max_iter,
            "targeted": targets > 0,
            "nb_random_init": nb_random_init,
            "batch_size": batch_size,
            "loss_type": loss_type,
            "verbose": verbose,
        }
        try:
            super().__init__(estimator, **given)
        except ValueError as error:
            framework = framework_of(estimator)
            if OF_PROBABILITIES not in str(error) or framework is None:
                raise
            logits = code_of("art_nip.attacks", framework).giving_logits(estimator)
            super().__init__(logits, **given)
        self.targets, self.draws = targets, draws
        if loss_type == "difference_logits_ratio" and estimator.nb_classes < LEAST_CLASSES_OF_DLR:
            raise UnsuitableClassifierError(
                f"The difference of logits ratio compares three scores, and this classifier has "
                f"{estimator.nb_classes}: attack it with loss_type='cross_entropy'."
            )
        # Made by ART from the estimator, to have another loss.
        target, clip_values = single_precision(self.estimator), range_taken(estimator)
        if clip_values is not None:
            target = in_unit_range(target, clip_values)
        target = averaged(target, draws)
        self._estimator = target if is_linf(norm) else of_one_scale(target)

    def generate(self, x: Array, y: Array | None = None, **kwargs: Any) -> Floats:
        """Return adversarial examples; `y` are true classes, None the predicted ones."""
        if not self.targets:
            adversarial: Floats = super().generate(x, y, **kwargs)
            return adversarial
        scores = self.estimator.predict(x, batch_size=self.batch_size)
        labels = true_or_predicted(scores.argmax(axis=1), y, self.estimator.nb_classes)
        left = np.flatnonzero(scores.argmax(axis=1) == labels)
        scores[np.arange(len(x)), labels] = -np.inf
        ranked = np.argsort(-scores, axis=1)
        results: Floats = np.array(x, np.float32)
        for rank in range(min(self.targets, self.estimator.nb_classes - 1)):
            if not len(left):
                break
            found = super().generate(x[left], ranked[left, rank], **kwargs)
            reached = self.estimator.predict(found, batch_size=self.batch_size).argmax(axis=1)
            fooled = reached != labels[left]
            results[left[fooled]] = found[fooled]
            left = left[~fooled]
        return results
