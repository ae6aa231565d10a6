"""The smallest ε at which an attack succeeds, for each image."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from art.attacks import evasion
from art.utils import projection

from art_nip.attacks.base import Floats, Mask, Rows, UnitRangeAttack, beside, true_or_predicted
from art_nip.attacks.in_unit_range import range_taken
from art_nip.attacks.labels import labels_for
from art_nip.attacks.parameters import scaled
from art_nip.estimators.clones import clone, clone_with
from art_nip.metrics import predicted_classes
from art_nip.utils.arrays import to_numpy
from art_nip.utils.ranges import PixelRange
from art_nip.utils.validation import check_whole

if TYPE_CHECKING:
    from art_nip.attacks.registry import NamedAttack

FIRST = 1 / 4
"""The search begins at this share of the attack's ε."""

GROWTH = 1.5
"""Factor from one ε to the next while the attack does not succeed, as in Foolbox 2."""

SEARCH_STEPS = 8
"""How often the last gap between failure and success is halved."""

LONGEST = 2.0**10
"""In other norms than L∞, where ε may exceed 1, the search ends at this multiple of its ε."""

Sizes = npt.NDArray[np.float64]
Trial = Callable[[Rows, Sizes], Iterator[Floats]]
"""From indices of images and an ε for each to examples, in the order in which they were found."""


class MinimumNorm(UnitRangeAttack):
    """The minimum-norm form of an attack within an ε-ball: for each image its smallest ε.

    ε grows until the attack succeeds; then the gap between the last failure and the first success
    is halved. At each ε the attack stops at its first success: every image that it asks a gradient
    at is looked at. Of all examples seen, the one closest to the image is returned. That is how the
    gradient attacks of Foolbox 2 work (Rauber et al., "Foolbox", 2017), whose examples lie just
    beyond the decision boundary. An attack that succeeds at some ε need not at a larger one, and so
    bisection cannot promise that no smaller one exists.

    Steps and other sizes keep their ratio to ε. A universal perturbation is crafted once, for all
    images at the attack's ε, and then shrunk for each: it stays one direction for all.

    :param estimator: an ART classifier with `clip_values`.
    :param named: an attack with a parameter "eps", from `art_nip.attacks.registry`.
    :param parameters: all of its parameters that differ from those of its class; its "eps" is where
        the search starts from, and of a universal perturbation where it ends.
    :param search_steps: how often the gap is halved; the ε found is within
        GROWTH^-1 · 2^-search_steps of the smallest, as a share of it.
    :raises ValueError: if the attack has no ε, or a parameter is not allowed.
    """

    attack_params: ClassVar[list[str]] = [
        *UnitRangeAttack.attack_params,
        *("named", "parameters", "search_steps"),
    ]
    made_as_art_does = True
    _estimator_requirements = ()

    def __init__(
        self,
        estimator: Any,
        named: NamedAttack,
        parameters: Mapping[str, Any],
        *,
        search_steps: int = SEARCH_STEPS,
    ) -> None:
        super().__init__(estimator, parameters.get("batch_size", 128))
        self.named, self.parameters = named, dict(parameters)
        self.search_steps = search_steps
        self._check_params()
        self._seen: list[Floats] = []
        self._watched: Any = clone(clone_with(_Watched, estimator))
        self._watched._seen = self._seen
        self._inner(1.0)  # says now what is wrong with the parameters, or the classifier

    def _check_params(self) -> None:
        super()._check_params()
        check_whole("search_steps", self.search_steps, least=0)
        if not self.parameters["eps"] > 0:
            raise ValueError(
                f"eps={self.parameters['eps']!r}; give a number above 0, from which the search for "
                "the smallest ε starts."
            )

    def _adversarial(self, x: Floats, labels: Rows | None, **options: Any) -> Floats:
        predicted = self._classes(x)
        goal = true_or_predicted(predicted, labels, self.estimator.nb_classes)
        found: Floats = x.copy()
        right = np.flatnonzero(predicted == goal)
        if not len(right):
            return found
        if self.named.per_image:
            for start in range(0, len(right), self.batch_size):
                rows = right[start : start + self.batch_size]
                found[rows] = self._searched(x[rows], goal[rows], self._attacking(x, goal, rows))
        else:
            trial = self._shrinking(x, goal, right)
            found[right] = self._searched(x[right], goal[right], trial)
        return found

    def _searched(self, x: Floats, goal: Rows, trial: Trial) -> Floats:
        """Return each image's closest example; an image that resists as it is."""
        closest: Floats = x.copy()
        sizes = np.full(len(x), np.inf)

        def fooled(rows: Rows, eps: Sizes) -> Mask:
            success = np.zeros(len(rows), bool)
            for images in trial(rows, eps):
                # Of one attack the first success counts: it stops there.
                moved = ~success & (images != x[rows]).reshape(len(rows), -1).any(axis=1)
                if not moved.any():
                    continue
                moved[moved] = self._classes(images[moved]) != goal[rows[moved]]
                size = self._sizes(images - x[rows])
                better = moved & (size < sizes[rows])
                closest[rows[better]], sizes[rows[better]] = images[better], size[better]
                success |= moved
            return success

        eps, largest = FIRST * self.parameters["eps"], self._largest
        bad, good, left = np.zeros(len(x)), np.full(len(x), np.inf), np.arange(len(x))
        while len(left):
            success = fooled(left, np.full(len(left), eps))
            good[left[success]], bad[left[~success]] = eps, eps
            left = left[~success] if eps < largest else left[:0]
            eps = min(GROWTH * eps, largest)
        rows = np.flatnonzero(np.isfinite(good))
        for _ in range(self.search_steps if len(rows) else 0):
            middle = (bad[rows] + good[rows]) / 2
            success = fooled(rows, middle)
            good[rows[success]], bad[rows[~success]] = middle[success], middle[~success]
        return closest

    def _attacking(self, x: Floats, goal: Rows, batch: Rows) -> Trial:
        """Return the trial that runs the attack on some of the images."""

        def trial(rows: Rows, eps: Sizes) -> Iterator[Floats]:
            images, labels = x[batch[rows]], goal[batch[rows]]
            if self._takes_eps_of_each_image or (eps == eps[0]).all():
                yield from self._trajectory(images, labels, eps)
                return
            groups = [np.flatnonzero(eps == size) for size in np.unique(eps)]
            runs = [list(self._trajectory(images[of], labels[of], eps[of])) for of in groups]
            for step in range(max(map(len, runs))):
                current = images.copy()
                for of, run in zip(groups, runs, strict=True):
                    current[of] = run[min(step, len(run) - 1)]
                yield current

        return trial

    def _trajectory(self, images: Floats, labels: Rows, eps: Sizes) -> Iterator[Floats]:
        """Yield what the attack passes through, and what it returns."""
        same = (eps == eps[0]).all()
        factor = eps[0] if same else beside(eps, images)
        attack = self._inner(factor / self.parameters["eps"])
        self._seen.clear()
        final = attack.generate(self._pixels(images), labels_for(attack, labels))
        seen = [given for given in self._seen if given.shape == images.shape]
        self._seen.clear()
        for given in seen:
            # What is further away is no step of the attack; it asked for another reason.
            within = self._sizes(given - images) <= eps * (1 + 1e-3)
            yield np.where(beside(within, images), given, images)
        yield self._unit(np.asarray(final, np.float32))

    def _shrinking(self, x: Floats, goal: Rows, right: Rows) -> Trial:
        """Return the trial that projects one perturbation of all images onto smaller balls."""
        attack = self._inner(1.0)
        final = self._unit(attack.generate(self._pixels(x), labels_for(attack, goal)))
        x, final, norm = x[right], final[right], self._norm

        def trial(rows: Rows, eps: Sizes) -> Iterator[Floats]:
            moved = np.concatenate(
                [
                    projection(final[[row]] - x[[row]], float(size), norm)
                    for row, size in zip(rows, eps, strict=True)
                ]
            )
            yield np.clip(x[rows] + moved, 0, 1, dtype=np.float32)

        return trial

    def _inner(self, factor: Any) -> Any:
        """Return the attack with all its sizes multiplied by a factor, or by one for each image."""
        given = {**self.parameters}
        if "batch_size" in self.named.kind.attack_params:
            given["batch_size"] = self.batch_size  # what is watched are whole batches
        if isinstance(factor, np.ndarray) and "eps_step" not in given:
            given["eps_step"] = given["eps"]  # ART wants both of one kind
        return self.named.made(self._watched, scaled(given, factor))

    @property
    def _takes_eps_of_each_image(self) -> bool:
        by_gradient = (evasion.FastGradientMethod, evasion.ProjectedGradientDescent)
        # ART cannot draw starts from balls of several sizes.
        return issubclass(self.named.kind, by_gradient) and not self.parameters.get(
            "num_random_init", 0
        )

    @property
    def _norm(self) -> float:
        return float(self.parameters.get("norm", np.inf))

    @property
    def _largest(self) -> float:
        eps = float(self.parameters["eps"])
        if not self.named.per_image:
            return eps
        return 1.0 if self._norm == np.inf else LONGEST * eps

    def _sizes(self, moved: Floats) -> Sizes:
        flat = moved.reshape(len(moved), -1).astype(np.float64)
        sizes: Sizes = np.linalg.norm(flat, self._norm, axis=1)
        return sizes

    def _classes(self, unit: Floats) -> Rows:
        return predicted_classes(self._scores(unit))


class _Watched:
    """What makes a class of ART classifiers one that keeps the images it gives gradients at."""

    def loss_gradient(self, x: Any, y: Any, **keywords: Any) -> Any:
        state: Any = self
        images = np.array(to_numpy(x), np.float32)
        if range_taken(state) is None:
            images = PixelRange.of(state.clip_values).unit(images)
        state._seen.append(images)
        return super().loss_gradient(x, y, **keywords)  # type: ignore[misc]
