"""What decision-based attacks share: all they know of the classifier is whether an image fools it.

They call nothing but `estimator.predict`, and so attack a classifier with all its defences.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from art.attacks.attack import EvasionAttack
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_nip.utils.seeds import generator
from art_nip.utils.validation import check_images, check_whole, class_indices, numeric

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]

Fools = Callable[[Floats, Rows], Mask]
"""Says which images are adversarial, given them and the rows of the attacked images they stem from.
"""


class DecisionAttack(EvasionAttack, ABC):  # type: ignore[misc]
    """An untargeted attack that sees nothing but the class predicted.

    :param estimator: an ART classifier with `clip_values`.
    :param batch_size: how many images the classifier sees at once.
    :param seed: of all that is drawn at random; None draws from NumPy's global
        state, as ART's attacks do.
    :param verbose: whether a progress bar counts the predictions.
    """

    attack_params: ClassVar[list[str]] = [
        *EvasionAttack.attack_params,
        "batch_size",
        "seed",
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, ClassifierMixin)

    def __init__(
        self,
        estimator: Any,
        *,
        batch_size: int = 128,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(estimator=estimator)
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose

    def generate(
        self, x: npt.ArrayLike, y: npt.ArrayLike | None = None, **kwargs: Any
    ) -> npt.NDArray[np.float32]:
        """Return adversarial examples.

        :param x: images, shape (N, *input_shape), within the estimator's `clip_values`.
        :param y: their true classes: indices, shape (N,), or one-hot, shape (N, nb_classes). None:
            the classes that the classifier predicts.
        :param kwargs: `x_adv_init`, where the attack takes a start; see its class.
        :return: float32, shape of x, within `clip_values`. An image that the classifier gets wrong
            already, and one that the attack finds no adversarial example for, comes back as it was.
        :raises TypeError: if images are no numbers, or there is a keyword that the attack does not
            take.
        :raises ValueError: if images or labels are not as above, or the estimator has no
            `clip_values`.
        """
        images = numeric(x)
        self._check(images)
        starts = self._starts(images, **kwargs)
        results: Floats = images.copy()
        if not len(images):
            return results
        with tqdm(
            desc=type(self).__name__, unit=" predictions", disable=not self.verbose
        ) as progress:

            def classes(some: Floats) -> Rows:
                progress.update(len(some))
                return self._classes(some)

            labels = classes(images)
            attacked = np.arange(len(images))
            if y is not None:
                true = class_indices(y, len(images), self.estimator.nb_classes)
                attacked = np.flatnonzero(labels == true)
                labels = true

            def fools(some: Floats, rows: Rows) -> Mask:
                return classes(some) != labels[attacked[rows]] if len(some) else np.zeros(0, bool)

            if len(attacked):
                results[attacked] = self._perturbed(
                    images[attacked],
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

        :param x: images that the classifier gets right, shape (A, *input_shape); not to be changed.
        :param starts: where to begin, shape of x, or None.
        :param fools: tells which images are adversarial.
        :param rng: what is drawn, is drawn from it.
        """

    def _starts(self, images: Floats, **kwargs: Any) -> Floats | None:
        if kwargs:
            raise TypeError(
                f"{type(self).__name__}.generate takes x and y only; it was given "
                f"{', '.join(kwargs)} too."
            )
        return None

    def _clip_values(self) -> tuple[Floats, Floats]:
        low, high = self.estimator.clip_values
        return np.asarray(low, np.float32), np.asarray(high, np.float32)

    def _check(self, images: Floats) -> None:
        if self.estimator.clip_values is None:
            raise ValueError(
                f"The estimator has no clip_values, and {type(self).__name__} needs them to know "
                "how much noise is the most: give the estimator clip_values=(min, max), the range "
                "of the images."
            )
        check_images(images, tuple(self.estimator.input_shape), self.estimator.clip_values)

    def _classes(self, images: Floats) -> Rows:
        scores = np.asarray(self.estimator.predict(images, batch_size=self.batch_size))
        if scores.ndim != 2 or scores.shape[1] < 2:
            raise ValueError(
                f"The classifier predicts scores of shape {scores.shape}; the attack needs one "
                "score for each of at least two classes."
            )
        classes: Rows = scores.argmax(axis=1)
        return classes

    def _check_params(self) -> None:
        super()._check_params()
        check_whole("batch_size", self.batch_size, least=1)
        if self.seed is not None:
            check_whole("seed", self.seed, least=0)
        if not isinstance(self.verbose, bool):
            raise ValueError(f"verbose={self.verbose!r}; give True or False.")


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


def beside(values: npt.NDArray[Any], x: Floats) -> npt.NDArray[Any]:
    """Return one value per image, shape (N,), in a shape that broadcasts to the images x."""
    return values.reshape(-1, *(1,) * (x.ndim - 1))
