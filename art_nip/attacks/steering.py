"""An attack made for the defence: it follows the surrogate losses that this offers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_nip.attacks.balls import check_linf_or_l2, drawn, unit_step, within_ball
from art_nip.attacks.base import Floats, Mask, Rows, UnitRangeAttack
from art_nip.attacks.parameters import UnsuitableClassifierError, check_sizes
from art_nip.attacks.surrogates import offers, surrogate_losses
from art_nip.utils.ranges import PixelRange
from art_nip.utils.seeds import generator
from art_nip.utils.surrogates import SurrogateLoss
from art_nip.utils.validation import check_whole

STEPS_BETWEEN_CHECKS = 5
"""After how many steps the classifier is asked which images fool it already."""

LAST_STEP = 1 / 40
"""The last step, as a share of the first; the steps between fall by one factor."""

Schedule = Sequence[Sequence[int]]
"""The losses that one step follows, the next step, and so on, from the first again."""


class SteeringAttack(UnitRangeAttack):
    """Steps along gradients (in L∞, their sign) that lead the parts of a defence to another class.

    The gradients are those of the surrogate losses that the defence, or the defended classifier,
    offers: see :class:`art_nip.utils.surrogates.OffersSurrogateLosses`. Each is followed alone,
    towards the classes that score highest with it. If there are several, their gradients, divided
    by their mean size, are added too, and taken in turn, towards the classes that score highest
    with all of them. So it goes from each start, within a ball, with steps whose size falls;
    what first fools the defended classifier is kept. Tramèr et al., "On adaptive attacks to
    adversarial example defenses" (2020), ask of an attack that it targets all parts of a defence.

    :param estimator: an ART classifier with a defence that offers surrogate losses.
    :param norm: np.inf or 2.
    :param eps: radius of the ball, for images in [0, 1].
    :param eps_step: size of the first step, likewise; the last one has a fortieth of it.
    :param max_iter: steps towards each class, by each way, from each start.
    :param targets: how many classes.
    :param restarts: how many starts: the image itself, then random ones.
    :param batch_size: how many images are attacked at once.
    :param seed: of the random starts; None draws from NumPy's global state.
    :param verbose: whether to show a progress bar.
    :raises ValueError: if nothing offers surrogate losses, or a parameter is not allowed.
    """

    attack_params: ClassVar[list[str]] = [
        *UnitRangeAttack.attack_params,
        *("norm", "eps", "eps_step", "max_iter", "targets", "restarts", "seed", "verbose"),
    ]
    _estimator_requirements = (BaseEstimator, ClassifierMixin)

    def __init__(
        self,
        estimator: Any,
        *,
        norm: float | str = np.inf,
        eps: float = 8 / 255,
        eps_step: float = 4 / 255,
        max_iter: int = 60,
        targets: int = 5,
        restarts: int = 1,
        batch_size: int = 128,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(estimator, batch_size)
        self.norm = norm
        self.eps = eps
        self.eps_step = eps_step
        self.max_iter = max_iter
        self.targets = targets
        self.restarts = restarts
        self.seed = seed
        self.verbose = verbose
        self._check_params()
        if not offers(estimator):
            raise UnsuitableClassifierError(
                "SteeringAttack follows the surrogate losses of a defence, and nothing in this "
                "classifier offers any: attack it with PGD or APGD, or give the defence a method "
                "surrogate_losses (see CONTRIBUTING.md)."
            )

    def _adversarial(self, x: Floats, labels: Rows | None, **options: Any) -> Floats:
        results: Floats = x.copy()
        rng = generator(self.seed)
        predicted = self._scores(x).argmax(axis=1)
        true = predicted if labels is None else labels
        attacked = np.flatnonzero(predicted == true)
        starts = range(0, len(attacked), self.batch_size)
        for start in tqdm(starts, type(self).__name__, disable=not self.verbose):
            rows = attacked[start : start + self.batch_size]
            results[rows] = self._led(x[rows], true[rows], rng)
        return results

    def _led(self, x: Floats, labels: Rows, rng: np.random.Generator) -> Floats:
        """Return images that fool the classifier, and as they were those that resist."""
        results: Floats = x.copy()
        left = np.arange(len(x))
        schedules = list(self._schedules(x, labels))
        for restart in range(self.restarts):
            for schedule, ranked in schedules:
                for rank in range(ranked.shape[1]):
                    start = x[left]
                    if restart:
                        start = self._within(
                            start + drawn(rng, start.shape, self.eps, self.norm), start
                        )
                    found, fooled = self._steered(
                        start, x[left], labels[left], ranked[left, rank], schedule
                    )
                    results[left[fooled]] = found[fooled]
                    left = left[~fooled]
                    if not len(left):
                        return results
        return results

    def _schedules(self, x: Floats, labels: Rows) -> Iterator[tuple[Schedule, Rows]]:
        """Yield the losses to follow at each step, and the classes to lead each image to."""
        scores = [_log_softmax(loss.scores()) for loss in self._losses(x, labels, labels)]
        places = range(len(scores))
        for place in places:
            yield [[place]], self._ranked(scores[place], labels)
        if len(scores) > 1:
            of_all = self._ranked(np.sum(scores, axis=0), labels)
            yield [list(places)], of_all
            yield [[place] for place in places], of_all

    def _ranked(self, scores: Floats, labels: Rows) -> Rows:
        """Return the nearest classes of each image but its own, shape (N, targets)."""
        # Below every other class, also below those that score nothing or no number.
        others = np.nan_to_num(scores, nan=np.finfo(np.float32).min)
        others[np.arange(len(labels)), labels] = -np.inf
        ranked: Rows = np.argsort(-others, axis=1, kind="stable")
        return ranked[:, : min(self.targets, scores.shape[1] - 1)]

    def _steered(
        self, start: Floats, x: Floats, labels: Rows, classes: Rows, schedule: Schedule
    ) -> tuple[Floats, Mask]:
        """Return where the steps lead, and which images fool the classifier there."""
        moved, fooled = start.copy(), np.zeros(len(x), np.bool_)
        sizes = self.eps_step * np.geomspace(1, LAST_STEP, self.max_iter)
        for step, size in enumerate(sizes.astype(np.float32), start=1):
            going = np.flatnonzero(~fooled)
            losses = self._losses(moved[going], labels[going], classes[going])
            if len(losses) <= max(map(max, schedule)):
                raise ValueError(
                    f"surrogate_losses returned {len(losses)} losses, and more before: return as "
                    "many at every call, with a gradient of zeros where one leads nowhere."
                )
            direction = self._direction([losses[place] for place in schedule[step % len(schedule)]])
            step_taken = size * unit_step(direction, self.norm)
            moved[going] = self._within(moved[going] + step_taken, x[going])
            if step % STEPS_BETWEEN_CHECKS == 0 or step == self.max_iter:
                fooled[going] = self._scores(moved[going]).argmax(axis=1) != labels[going]
                if fooled.all():
                    break
        return moved, fooled

    def _losses(self, x: Floats, labels: Rows, classes: Rows) -> list[SurrogateLoss]:
        return surrogate_losses(self.estimator, self._pixels(x), labels, classes)

    def _direction(self, losses: Sequence[SurrogateLoss]) -> Floats:
        """Return the sum of the gradients of losses, all of one mean size."""
        span = PixelRange.of(self.estimator.clip_values).span
        # What has no gradient somewhere must not make NaN of an image.
        gradients = [_sized(np.nan_to_num(loss.gradient() * span)) for loss in losses]
        total: Floats = np.sum(gradients, axis=0)
        return total

    def _within(self, moved: Floats, x: Floats) -> Floats:
        return within_ball(moved, x, self.eps, self.norm)

    def _check_params(self) -> None:
        super()._check_params()
        check_linf_or_l2(self.norm)
        check_sizes({"norm": self.norm, "eps": self.eps, "eps_step": self.eps_step})
        for name in ("max_iter", "targets", "restarts"):
            check_whole(name, getattr(self, name), least=1)


def _log_softmax(scores: Floats) -> Floats:
    """Return scores of different kinds on one scale, that of log-probabilities."""
    # Scores that are no numbers tell nothing: no class is ahead.
    known = np.where(np.isnan(scores).any(axis=1, keepdims=True), 0, scores)
    top = known.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):  # ∞ − ∞, where 0 is taken
        ahead = np.where(known == top, 0, known - top)
    found: Floats = ahead - np.log(np.exp(ahead).sum(axis=1, keepdims=True))
    return found


def _sized(gradient: Floats) -> Floats:
    """Return gradients of mean size 1, those that are zero as they are; shape (N, *input_shape)."""
    axes = tuple(range(1, gradient.ndim))
    # By the largest value first: means overflow where gradients are huge, and vanish where tiny.
    one = np.float32(1)
    largest = np.abs(gradient).max(axis=axes, keepdims=True)
    scaled: Floats = gradient / np.where(largest > 0, largest, one)
    mean = np.abs(scaled).mean(axis=axes, keepdims=True)
    sized: Floats = scaled / np.where(mean > 0, mean, one)
    return sized
