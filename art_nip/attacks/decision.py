"""What decision-based attacks share: all they know of the classifier is whether an image fools it.

They call nothing but `estimator.predict`, and so attack a classifier with all its defences.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_nip.attacks.base import Floats, Mask, Rows, UnitRangeAttack
from art_nip.utils.seeds import generator

Fools = Callable[[Floats, Rows], Mask]
"""Says which images in [0, 1] are adversarial, given them and the rows of the images attacked that
they stem from."""


class DecisionAttack(UnitRangeAttack):
    """An untargeted attack that sees nothing but the class predicted.

    An image that is wrong already, or that resists, comes back as it was.

    :param estimator: an ART classifier with `clip_values`.
    :param batch_size: how many images the classifier sees at once.
    :param seed: of all that is drawn at random; None draws from NumPy's global
        state, as ART's attacks do.
    :param verbose: whether a progress bar counts the predictions.
    """

    attack_params: ClassVar[list[str]] = [*UnitRangeAttack.attack_params, "seed", "verbose"]
    _estimator_requirements = (BaseEstimator, ClassifierMixin)

    def __init__(
        self,
        estimator: Any,
        *,
        batch_size: int = 128,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(estimator, batch_size)
        self.seed = seed
        self.verbose = verbose

    def _options(self, images: Floats, **kwargs: Any) -> dict[str, Any]:
        return {"starts": self._starts(images, **kwargs)}

    def _starts(self, images: Floats, **kwargs: Any) -> Floats | None:
        super()._options(images, **kwargs)
        return None

    def _adversarial(self, x: Floats, labels: Rows | None, **options: Any) -> Floats:
        starts: Floats | None = options["starts"]
        results: Floats = x.copy()
        with tqdm(
            desc=type(self).__name__, unit=" predictions", disable=not self.verbose
        ) as progress:

            def classes(some: Floats) -> Rows:
                progress.update(len(some))
                found: Rows = self._scores(some).argmax(axis=1)
                return found

            predicted = classes(x)
            true = predicted if labels is None else labels
            attacked = np.flatnonzero(predicted == true)

            def fools(some: Floats, rows: Rows) -> Mask:
                return classes(some) != true[attacked[rows]] if len(some) else np.zeros(0, bool)

            if len(attacked):
                results[attacked] = self._perturbed(
                    x[attacked],
                    None if starts is None else starts[attacked],
                    fools,
                    generator(self.seed),
                )
        return results

    @abstractmethod
    def _perturbed(
        self, x: Floats, starts: Floats | None, fools: Fools, rng: np.random.Generator
    ) -> Floats:
        """Return an adversarial example of each image, or the image itself.

        :param x: images in [0, 1] that the classifier gets right, shape (A, *input_shape); not to
            be changed.
        :param starts: where to begin, in [0, 1], shape of x, or None.
        :param fools: tells which images are adversarial.
        :param rng: what is drawn, is drawn from it.
        """


def bisected(works: Callable[[Floats], Mask], good: Floats, bad: Floats, steps: int) -> Floats:
    """Return values that work, near to those that do not.

    They end one last step short of the edge: on it, rounding would decide, and another batch size
    rounds otherwise.

    :param works: tells which values work.
    :param good: values known to work, shape (A,).
    :param bad: values taken not to work, shape (A,).
    :param steps: how often the interval is halved; 0 returns `good`.
    :return: shape (A,); each is `good` or was seen to work.
    """
    if not steps:
        return good
    edge: Floats = good
    for _ in range(steps):
        middle = (edge + bad) * np.float32(0.5)
        working = works(middle)
        edge, bad = np.where(working, middle, edge), np.where(working, bad, middle)
    short: Floats = np.where(edge == good, good, 2 * edge - bad)
    safe: Floats = np.where(works(short), short, good)
    return safe
