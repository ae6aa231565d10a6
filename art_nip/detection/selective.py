"""An attack on a classifier and its detector together."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin

from art_nip.attacks.balls import drawn, unit_step, within_ball
from art_nip.attacks.base import Floats, Mask, Rows, UnitRangeAttack
from art_nip.utils.seeds import generator
from art_nip.utils.validation import check_positive, check_whole

NORM = np.inf

FIRST_STEP, LAST_STEP = 1 / 4, 1 / 80
"""The first and last step, as shares of ε; the steps between fall by one factor."""


class ScoresImages(Protocol):
    """A detector as the attack sees it, such as :class:`art_nip.detection.NIPDetector`."""

    def scores(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the score of each image, shape (N,): what is high is detected."""
        ...

    def score_gradient(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return a gradient of the scores, shape of x."""
        ...


class SelectivePGD(UnitRangeAttack):
    """PGD that fools a classifier and its detector, one at a time (selective gradients).

    Each step follows one gradient by its sign: that of the classifier's loss while the image is in
    its own class, and that which lowers the detector's score once it is in another. So the two
    never cancel each other, as they do in a sum (Bryniarski et al., "Evading adversarial example
    detection defenses with orthogonal projected gradient descent", ICLR 2022, "selective"). It goes
    towards several classes, from several starts, in an L∞ ball, with steps whose size falls. Of all
    images on the way that are in another class, the one with the lowest score is kept. An image
    that is never in another class is returned as its last step left it.

    :param estimator: the ART classifier, without the detector.
    :param detector: what scores images; see :class:`ScoresImages`.
    :param eps: of the L∞ ball, a share of the images' range, above 0, at most 1.
    :param max_iter: steps towards each class from each start.
    :param targets: towards how many classes: those that score highest besides the image's own, in
        turn by the classifier and by `rank`.
    :param restarts: how many starts: the image itself, then random ones.
    :param rank: a function from images to scores of the classes, (N, nb_classes), such as
        `nip.evidence`; None takes the classifier's only.
    :param batch_size: how many images are attacked at once.
    :param seed: of the random starts; None draws from NumPy's global state.
    :raises TypeError: if the detector lacks a method, or `rank` is no function.
    :raises ValueError: if a parameter is not allowed.
    """

    attack_params: ClassVar[list[str]] = [
        *UnitRangeAttack.attack_params,
        *("eps", "max_iter", "targets", "restarts", "seed"),
    ]
    _estimator_requirements = (BaseEstimator, LossGradientsMixin, ClassifierMixin)

    def __init__(
        self,
        estimator: Any,
        detector: ScoresImages,
        *,
        eps: float = 8 / 255,
        max_iter: int = 100,
        targets: int = 4,
        restarts: int = 1,
        rank: Any = None,
        batch_size: int = 128,
        seed: int | None = None,
    ) -> None:
        super().__init__(estimator, batch_size)
        for method in ("scores", "score_gradient"):
            if not callable(getattr(detector, method, None)):
                raise TypeError(
                    f"The detector, a {type(detector).__name__}, has no method {method}: give a "
                    "NIPDetector, or what has the two methods of ScoresImages."
                )
        if rank is not None and not callable(rank):
            raise TypeError(f"rank={rank!r}; give a function from images to scores, or None.")
        self.detector, self.rank = detector, rank
        self.eps, self.max_iter, self.targets = eps, max_iter, targets
        self.restarts, self.seed = restarts, seed
        self._check_params()

    def _check_params(self) -> None:
        super()._check_params()
        check_positive("eps", self.eps, 1)
        for name in ("max_iter", "targets", "restarts"):
            check_whole(name, getattr(self, name), 1)

    def _adversarial(self, x: Floats, labels: Rows | None, **options: Any) -> Floats:
        true = self._scores(x).argmax(axis=1) if labels is None else labels
        rng = generator(self.seed)
        starts = range(0, len(x), self.batch_size)
        batches = [slice(start, start + self.batch_size) for start in starts]
        found: Floats = np.concatenate([self._of_batch(x[of], true[of], rng) for of in batches])
        return found

    def _of_batch(self, x: Floats, y: Rows, rng: np.random.Generator) -> Floats:
        best: Floats = x.copy()
        lowest = np.full(len(x), np.inf)
        steps = self.eps * np.geomspace(FIRST_STEP, LAST_STEP, self.max_iter)
        for restart in range(self.restarts):
            for target in self._targets(x, y).T:
                moved = x
                if restart:
                    moved = self._within(x + drawn(rng, x.shape, self.eps, NORM), x)
                for step in steps.astype(np.float32):
                    wrong = self._keep(moved, y, best, lowest)
                    direction = self._direction(moved, target, wrong)
                    moved = self._within(moved + step * unit_step(direction, NORM), x)
                self._keep(moved, y, best, lowest)
                never = np.isinf(lowest)
                best[never] = moved[never]
        return best

    def _keep(self, moved: Floats, y: Rows, best: Floats, lowest: npt.NDArray[np.float64]) -> Mask:
        """Keep images in another class whose scores are lower; return which are in another."""
        wrong: Mask = self._scores(moved).argmax(axis=1) != y
        if wrong.any():
            places = np.flatnonzero(wrong)
            scores = np.asarray(self.detector.scores(self._pixels(moved[places])), np.float64)
            # What has no score is kept as long as nothing better is found.
            scores = np.where(scores < np.inf, scores, np.finfo(scores.dtype).max)
            better = places[scores < lowest[places]]
            best[better] = moved[better]
            lowest[places] = np.minimum(lowest[places], scores)
        return wrong

    def _direction(self, moved: Floats, target: Rows, wrong: Mask) -> Floats:
        """Return what lowers the detector's score of wrong images, and leads others to targets."""
        pixels, right = self._pixels(moved), ~wrong
        found = np.zeros_like(moved)
        if wrong.any():
            found[wrong] = -np.asarray(self.detector.score_gradient(pixels[wrong]))
        if right.any():
            labels = np.eye(self.estimator.nb_classes, dtype=np.float32)[target[right]]
            found[right] = -np.asarray(self.estimator.loss_gradient(pixels[right], labels))
        return found

    def _targets(self, x: Floats, y: Rows) -> Rows:
        """Return the classes to go to, shape (N, targets): the nearest by each ranking in turn."""
        rankings = [self._scores(x)]
        if self.rank is not None:
            ranking = np.asarray(self.rank(self._pixels(x)))
            if ranking.shape != rankings[0].shape:
                raise ValueError(
                    f"rank returned scores of shape {ranking.shape} for {len(x)} images; return "
                    f"one for each class, shape {rankings[0].shape}."
                )
            rankings.append(ranking)
        ordered = []
        for scores in rankings:
            order = np.argsort(-scores, axis=1, kind="stable")
            ordered.append(order[order != y[:, None]].reshape(len(x), -1))
        # In turn, without those that were there before.
        merged = np.stack(ordered, axis=2).reshape(len(x), -1)
        n = min(self.targets, self.estimator.nb_classes - 1)
        return np.stack([np.array(list(dict.fromkeys(row))[:n]) for row in merged.tolist()])

    def _within(self, moved: Floats, x: Floats) -> Floats:
        return within_ball(moved, x, self.eps, NORM)
