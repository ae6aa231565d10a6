"""What the attacks that are classes of this package share: checks, labels, and the unit of images.

They see images in units of their range, 0 at its low end and 1 at its high end, so that the same
pictures give the same examples whatever range the classifier takes them in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from art.attacks.attack import EvasionAttack

from art_nip.utils.ranges import PixelRange
from art_nip.utils.validation import (
    check_classifier,
    check_flag,
    check_images,
    check_seed,
    check_whole,
    class_indices,
    numeric,
)

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]


class UnitRangeAttack(EvasionAttack, ABC):  # type: ignore[misc]
    """An attack that leads images away from their class, and sees them in units of their range.

    :param estimator: an ART classifier with `clip_values`.
    :param batch_size: how many images the classifier sees at once.
    :raises TypeError: if the estimator is none of ART.
    """

    attack_params: ClassVar[list[str]] = [*EvasionAttack.attack_params, "batch_size"]

    def __init__(self, estimator: Any, batch_size: int) -> None:
        check_classifier(estimator, type(self).__name__)
        super().__init__(estimator=estimator)
        self.batch_size = batch_size

    def generate(
        self, x: npt.ArrayLike, y: npt.ArrayLike | None = None, **kwargs: Any
    ) -> npt.NDArray[np.float32]:
        """Return adversarial examples.

        :param x: images, shape (N, *input_shape), within the estimator's `clip_values`; they stay
            as they are.
        :param y: their true classes: indices, shape (N,), or one-hot, shape (N, nb_classes). None:
            the classes that the classifier predicts.
        :param kwargs: `x_adv_init`, where the attack takes a start; see its class.
        :return: float32, shape of x, within `clip_values`. A value that the attack leaves alone is
            exactly as it was.
        :raises TypeError: if images are no numbers, or there is a keyword that the attack does not
            take.
        :raises ValueError: if images or labels are not as above, or the estimator has no
            `clip_values`.
        """
        images = numeric(x)
        self._check_images(images)
        options = self._options(images, **kwargs)
        if not len(images):
            return np.array(images)
        labels = None if y is None else class_indices(y, len(images), self.estimator.nb_classes)
        unit = self._unit(images)
        found = self._adversarial(unit, labels, **options)
        result: Floats = np.where(found == unit, images, self._pixels(found))
        return result

    @abstractmethod
    def _adversarial(self, x: Floats, labels: Rows | None, **options: Any) -> Floats:
        """Return adversarial examples.

        :param x: images in [0, 1], at least one; not to be changed.
        :param labels: their true classes, or None.
        :param options: what `_options` has made of keywords.
        """

    def _options(self, images: Floats, **kwargs: Any) -> dict[str, Any]:
        if kwargs:
            raise TypeError(
                f"{type(self).__name__}.generate takes x and y only; it was given "
                f"{', '.join(kwargs)} too."
            )
        return {}

    def _check_images(self, images: Floats) -> None:
        if self.estimator.clip_values is None:
            raise ValueError(
                f"The estimator has no clip_values, and the sizes of {type(self).__name__} are "
                "shares of them: give the estimator clip_values=(min, max), the range of the "
                "images."
            )
        check_images(images, tuple(self.estimator.input_shape), self.estimator.clip_values)

    def _unit(self, images: Floats) -> Floats:
        unit: Floats = np.clip(PixelRange.of(self.estimator.clip_values).unit(images), 0, 1)
        return unit

    def _pixels(self, unit: Floats) -> Floats:
        low, high = (np.asarray(bound, np.float32) for bound in self.estimator.clip_values)
        pixels = PixelRange.of((low, high)).pixels(unit)
        inside: Floats = np.clip(pixels, low, high)  # rounding may have led outside
        return inside

    def _scores(self, unit: Floats) -> Floats:
        """Return the classifier's scores, shape (N, nb_classes), of images in [0, 1]."""
        pixels = self._pixels(unit)
        scores = np.array(self.estimator.predict(pixels, batch_size=self.batch_size))
        if scores.ndim != 2 or scores.shape[1] < 2:
            raise ValueError(
                f"The classifier predicts scores of shape {scores.shape}; the attack needs one "
                "score for each of at least two classes."
            )
        return scores

    def _check_params(self) -> None:
        super()._check_params()
        check_whole("batch_size", self.batch_size, least=1)
        check_seed(getattr(self, "seed", None))
        check_flag("verbose", getattr(self, "verbose", True))


def true_or_predicted(predicted: Rows, y: npt.ArrayLike | None, nb_classes: int) -> Rows:
    """Return the classes that images are to be led away from.

    :param predicted: the classifier's, shape (N,).
    :param y: true classes as indices or one-hot; None takes those predicted.
    :param nb_classes: how many classes there are.
    """
    return predicted if y is None else class_indices(y, len(predicted), nb_classes)


def beside(values: npt.NDArray[Any], x: Floats) -> npt.NDArray[Any]:
    """Return one value per image, shape (N,), in a shape that broadcasts to the images x."""
    return values.reshape(-1, *(1,) * (x.ndim - 1))
