"""An attack on a classifier and its detector together."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from art.attacks.attack import EvasionAttack
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin

from art_nip.utils.ranges import PixelRange
from art_nip.utils.seeds import generator
from art_nip.utils.validation import (
    check_images,
    check_positive,
    check_whole,
    class_indices,
    numeric,
)

Images = npt.NDArray[np.float32]

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


class SelectivePGD(EvasionAttack):  # type: ignore[misc]
    """PGD that fools a classifier and its detector, one at a time (selective gradients).

    Each step follows one gradient by its sign: that of the classifier's loss while the image is in
    its own class, and that which lowers the detector's score once it is in another. So the two
    never cancel each other, as they do in a sum (Bryniarski et al., "Evading adversarial example
    detection defenses with orthogonal projected gradient descent", ICLR 2022, "selective"). It goes
    towards several classes, from several starts, in an L∞ ball, with steps whose size falls. Of all
    images on the way that are in another class, the one with the lowest score is kept.

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
        *EvasionAttack.attack_params,
        *("eps", "max_iter", "targets", "restarts", "batch_size", "seed"),
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
        super().__init__(estimator=estimator)
        for method in ("scores", "score_gradient"):
            if not callable(getattr(detector, method, None)):
                raise TypeError(
                    f"The detector, a {type(detector).__name__}, has no method {method}: give a "
                    "NIPDetector, or what has the two methods of ScoresImages."
                )
        if rank is not None and not callable(rank):
            raise TypeError(f"rank={rank!r}; give a function from images to scores, or None.")
        if estimator.clip_values is None:
            raise ValueError(
                "The classifier has no clip_values, and ε is a share of them: give it "
                "clip_values=(min, max), the range of the images."
            )
        self.detector, self.rank = detector, rank
        self.eps, self.max_iter, self.targets = eps, max_iter, targets
        self.restarts, self.batch_size, self.seed = restarts, batch_size, seed
        self._check_params()

    def _check_params(self) -> None:
        check_positive("eps", self.eps, 1)
        for name in ("max_iter", "targets", "restarts", "batch_size"):
            check_whole(name, getattr(self, name), 1)
        if self.seed is not None:
            check_whole("seed", self.seed, 0)

    def generate(self, x: npt.ArrayLike, y: npt.ArrayLike | None = None, **kwargs: Any) -> Images:
        """Return the adversarial images, float32, shape of x.

        An image that is never in another class is returned as its last step left it.

        :param x: images, shape (N, *input_shape), in the classifier's range; they stay as they are.
        :param y: their true classes, shape (N,), or one-hot; None takes the predicted ones.
        :raises TypeError: if there is another keyword: this attack takes none.
        :raises ValueError: if images or labels are not as above.
        """
        if kwargs:
            raise TypeError(
                f"SelectivePGD.generate takes x and y only; it was given {', '.join(kwargs)} too."
            )
        images = numeric(x)
        check_images(images, self.estimator.input_shape, self.estimator.clip_values)
        if not len(images):
            return images
        given = self._logits(images).argmax(axis=1) if y is None else y
        classes = class_indices(given, len(images), self.estimator.nb_classes)
        rng = generator(self.seed)
        batches = [
            self._of_batch(images[k : k + self.batch_size], classes[k : k + self.batch_size], rng)
            for k in range(0, len(images), self.batch_size)
        ]
        found: Images = np.concatenate(batches)
        return found

    def _of_batch(self, x: Images, y: npt.NDArray[np.int64], rng: np.random.Generator) -> Images:
        pixels = PixelRange.of(self.estimator.clip_values)
        best: Images = x.copy()
        lowest = np.full(len(x), np.inf)
        steps = (self.eps * np.geomspace(FIRST_STEP, LAST_STEP, self.max_iter)).tolist()
        for start in range(self.restarts):
            for target in self._targets(x, y).T:
                moved = x
                if start:
                    noise = rng.uniform(-self.eps, self.eps, x.shape).astype(np.float32)
                    moved = np.clip(x + noise * pixels.span, pixels.low, pixels.high)
                for step in steps:
                    wrong = self._keep(moved, y, best, lowest)
                    way = self._way(moved, target, wrong)
                    moved = moved + step * pixels.span * np.sign(way)
                    ball = self.eps * pixels.span
                    moved = np.clip(moved, x - ball, x + ball)
                    moved = np.clip(moved, pixels.low, pixels.high).astype(np.float32)
                self._keep(moved, y, best, lowest)
                never = np.isinf(lowest)
                best[never] = moved[never]
        return best

    def _keep(
        self,
        moved: Images,
        y: npt.NDArray[np.int64],
        best: Images,
        lowest: npt.NDArray[np.float64],
    ) -> npt.NDArray[np.bool_]:
        """Keep images in another class whose scores are lower; return which are in another."""
        wrong: npt.NDArray[np.bool_] = self._logits(moved).argmax(axis=1) != y
        if wrong.any():
            places = np.flatnonzero(wrong)
            scores = np.asarray(self.detector.scores(moved[places]), np.float64)
            # What has no score is kept as long as nothing better is found.
            scores = np.where(scores < np.inf, scores, np.finfo(scores.dtype).max)
            better = places[scores < lowest[places]]
            best[better] = moved[better]
            lowest[places] = np.minimum(lowest[places], scores)
        return wrong

    def _way(
        self, moved: Images, target: npt.NDArray[np.int64], wrong: npt.NDArray[np.bool_]
    ) -> Images:
        """Return what lowers the detector's score of wrong images, and leads others to targets."""
        way = np.zeros_like(moved)
        if wrong.any():
            way[wrong] = -np.asarray(self.detector.score_gradient(moved[wrong]))
        right = ~wrong
        if right.any():
            labels = np.eye(self.estimator.nb_classes, dtype=np.float32)[target[right]]
            way[right] = -np.asarray(self.estimator.loss_gradient(moved[right], labels))
        return way

    def _targets(self, x: Images, y: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the classes to go to, shape (N, targets): the nearest by each ranking in turn."""
        rankings = [self._logits(x)]
        if self.rank is not None:
            ranking = np.asarray(self.rank(x))
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

    def _logits(self, x: Images) -> npt.NDArray[Any]:
        logits: npt.NDArray[Any] = self.estimator.predict(x, batch_size=self.batch_size)
        return logits
