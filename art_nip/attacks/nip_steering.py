"""An attack made for NIP: it leads the model and the retrieval to a wrong class together."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from art.estimators.classification.classifier import ClassGradientsMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin
from tqdm.auto import tqdm

from art_nip.attacks.base import Floats, Mask, Rows, UnitRangeAttack
from art_nip.attacks.parameters import UnsuitableClassifierError, check_share
from art_nip.nip.preprocessor import NIPPreprocessor
from art_nip.utils.ranges import PixelRange
from art_nip.utils.seeds import generator
from art_nip.utils.validation import check_whole

STEPS_BETWEEN_CHECKS = 5
"""After how many steps the classifier is asked which images fool it already."""


class SteeringAttack(UnitRangeAttack):
    """Steps by the sign of gradients that lead model and retrieval to another class together.

    These are the gradients of the surrogate losses of
    :meth:`art_nip.NIPPreprocessor.surrogate_losses`: with "class" retrieval, one of the model and
    one of the evidence, which is zero for an image that both have wrong; with other retrievals, one
    of the model behind candidates drawn at random, so that it matters little which is retrieved.
    They are divided by their mean size and added. Images are led to the classes next in score, one
    after the other, from several starts, within an L∞ ball; the first that fools the defended
    classifier is kept. Tramèr et al., "On adaptive attacks to adversarial example defenses" (2020),
    ask of an attack that it targets all parts of a defence at once.

    :param estimator: an ART classifier that NIP is attached to. Its other defences count as the
        identity on the way back.
    :param eps: of the L∞ ball, a share of the images' range.
    :param eps_step: size of a step, likewise.
    :param max_iter: steps towards each class, from each start.
    :param targets: how many classes.
    :param restarts: how many starts: the image itself, then random ones.
    :param draws: over how many candidates, drawn at random, the mean is taken at each step, with
        other retrievals than "class".
    :param batch_size: how many images are attacked at once.
    :param seed: of the random starts; None draws from NumPy's global state.
    :param verbose: whether to show a progress bar.
    :raises ValueError: if no NIP is attached, or a parameter is not allowed.
    """

    attack_params: ClassVar[list[str]] = [
        *UnitRangeAttack.attack_params,
        *("eps", "eps_step", "max_iter", "targets", "restarts", "draws", "seed"),
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, LossGradientsMixin, ClassGradientsMixin)

    def __init__(
        self,
        estimator: Any,
        *,
        eps: float = 8 / 255,
        eps_step: float = 1 / 255,
        max_iter: int = 40,
        targets: int = 3,
        restarts: int = 1,
        draws: int = 4,
        batch_size: int = 128,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(estimator, batch_size)
        self.eps = eps
        self.eps_step = eps_step
        self.max_iter = max_iter
        self.targets = targets
        self.restarts = restarts
        self.draws = draws
        self.seed = seed
        self.verbose = verbose
        self._check_params()
        self._nip = _only_nip(estimator)

    def _adversarial(self, x: Floats, labels: Rows | None, **options: Any) -> Floats:
        results: Floats = x.copy()
        rng = generator(self.seed)
        scores = self._scores(x)
        predicted = scores.argmax(axis=1)
        true = predicted if labels is None else labels
        attacked = np.flatnonzero(predicted == true)
        scores[np.arange(len(x)), true] = -np.inf
        ranked = np.argsort(-scores, axis=1)[:, : min(self.targets, scores.shape[1] - 1)]
        starts = range(0, len(attacked), self.batch_size)
        for start in tqdm(starts, type(self).__name__, disable=not self.verbose):
            rows = attacked[start : start + self.batch_size]
            results[rows] = self._led(x[rows], true[rows], ranked[rows], rng)
        return results

    def _led(self, x: Floats, labels: Rows, ranked: Rows, rng: np.random.Generator) -> Floats:
        """Return images that fool the classifier, and as they were those that resist."""
        results: Floats = x.copy()
        left = np.arange(len(x))
        for restart in range(self.restarts):
            for classes in ranked.T:
                start = x[left]
                if restart:
                    noise = rng.uniform(-self.eps, self.eps, start.shape).astype(np.float32)
                    start = self._within(start + noise, x[left])
                found, fooled = self._steered(start, x[left], labels[left], classes[left])
                results[left[fooled]] = found[fooled]
                left = left[~fooled]
                if not len(left):
                    return results
        return results

    def _steered(
        self, start: Floats, x: Floats, labels: Rows, classes: Rows
    ) -> tuple[Floats, Mask]:
        """Return where the steps lead, and which images fool the classifier there."""
        moved, fooled = start.copy(), np.zeros(len(x), np.bool_)
        for step in range(1, self.max_iter + 1):
            going = np.flatnonzero(~fooled)
            signs = np.sign(self._direction(moved[going], classes[going]))
            moved[going] = self._within(moved[going] + self.eps_step * signs, x[going])
            if step % STEPS_BETWEEN_CHECKS == 0 or step == self.max_iter:
                fooled[going] = self._scores(moved[going]).argmax(axis=1) != labels[going]
                if fooled.all():
                    break
        return moved, fooled

    def _direction(self, x: Floats, classes: Rows) -> Floats:
        """Return the sum of the gradients of the surrogate losses, all of one mean size."""
        span = PixelRange.of(self.estimator.clip_values).span
        total: Floats = np.zeros_like(x)
        for pixels in self._nip.surrogate_losses(self._pixels(x), classes, self.draws):
            gradient = pixels * span
            axes = tuple(range(1, gradient.ndim))
            total += gradient / (np.abs(gradient).mean(axis=axes, keepdims=True) + 1e-12)
        return total

    def _within(self, moved: Floats, x: Floats) -> Floats:
        near = np.clip(moved, x - np.float32(self.eps), x + np.float32(self.eps))
        clipped: Floats = np.clip(near, 0, 1).astype(np.float32)
        return clipped

    def _check_params(self) -> None:
        super()._check_params()
        check_share("eps", self.eps)
        check_share("eps_step", self.eps_step)
        for name in ("max_iter", "targets", "restarts", "draws"):
            check_whole(name, getattr(self, name), least=1)


def _only_nip(estimator: Any) -> NIPPreprocessor:
    attached = [
        defence
        for defence in estimator.preprocessing_defences or []
        if isinstance(defence, NIPPreprocessor)
    ]
    if len(attached) != 1:
        raise UnsuitableClassifierError(
            f"SteeringAttack is made for a classifier with one NIP, and this one has "
            f"{len(attached)}: give it nip.attach(classifier)."
        )
    return attached[0]
