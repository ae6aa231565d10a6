"""What adapters of other libraries' attacks share: an ART attack that hands a module to them.

These libraries are written for images in [0, 1]; the module scales them to the classifier's range.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from art.attacks.attack import EvasionAttack
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator

from art_nip.estimators.base import seen_in
from art_nip.estimators.module import as_module
from art_nip.utils.frameworks import Framework, code_of
from art_nip.utils.ranges import PixelRange
from art_nip.utils.validation import check_images, check_whole, class_indices, numeric

Floats = npt.NDArray[np.float32]
Tensor = Any


class ForeignAttack(EvasionAttack, ABC):  # type: ignore[misc]
    """An untargeted attack of another library.

    :param classifier: an ART classifier with `clip_values`, defended or not, of one of the
        library's `frameworks`.
    :param batch_size: how many images are attacked at once.
    :param straight_through: whether it may go through defences that are written for NumPy, as ART's
        own attacks do without asking; see `art_nip.as_module`.
    :raises TypeError: if the classifier is of a framework that the library does not know.
    :raises ValueError: if a parameter is not allowed, or there are no `clip_values`.
    """

    made_as_art_does = True
    """Attributes without underscore are what makes the attack: for the benchmark's fingerprints."""

    attack_params: ClassVar[list[str]] = [
        *EvasionAttack.attack_params,
        *("eps", "batch_size", "straight_through"),
    ]
    _estimator_requirements = (BaseEstimator, ClassifierMixin)

    library: ClassVar[str]
    """What the library is called, for errors."""

    distribution: ClassVar[str]
    """What it is called on the package index."""

    frameworks: ClassVar[tuple[Framework, ...]] = (Framework.PYTORCH,)
    """For whose models it is."""

    instead: ClassVar[str] = ""
    """What to do with a classifier of another framework, as a sentence."""

    eps: float | None
    """The largest perturbation, where the attack has one: a share of the clip range."""

    def __init__(
        self, classifier: Any, *, batch_size: int = 128, straight_through: bool = False
    ) -> None:
        super().__init__(estimator=classifier)
        self.batch_size = batch_size
        self.straight_through = straight_through
        self.library_version = _version(self.distribution)
        if seen_in(classifier, self.library) not in self.frameworks:
            labels = " and ".join(known.label for known in self.frameworks)
            raise TypeError(
                f"{self.library} attacks models of {labels}, and this is a "
                f"{type(classifier).__name__}. {self.instead}".rstrip()
            )
        if classifier.clip_values is None:
            raise ValueError(
                f"The classifier has no clip_values, and {self.library} needs the range of the "
                "images: give it clip_values=(min, max)."
            )

    def generate(self, x: npt.ArrayLike, y: npt.ArrayLike | None = None, **kwargs: Any) -> Floats:
        """Return adversarial examples.

        :param x: images, shape (N, *input_shape), within the classifier's `clip_values`.
        :param y: their true classes: indices, shape (N,), or one-hot, shape (N, nb_classes). None:
            the classes that the classifier predicts.
        :return: what the library's attack gives, float32, shape of x, within `clip_values`.
        :raises TypeError: if images are no numbers, or there is another keyword.
        :raises ValueError: if images or labels are not as above, or a defence is written for NumPy
            and `straight_through` is not set.
        """
        if kwargs:
            raise TypeError(f"generate takes x and y only; it was given {', '.join(kwargs)} too.")
        estimator, images = self.estimator, numeric(x)
        check_images(images, tuple(estimator.input_shape), estimator.clip_values)
        results: Floats = images.copy()
        if not len(images):
            return results
        labels = (
            estimator.predict(images, batch_size=self.batch_size).argmax(axis=1)
            if y is None
            else class_indices(y, len(images), estimator.nb_classes)
        )
        module = as_module(estimator, straight_through=self.straight_through, unit_images=True)
        for start in range(0, len(images), self.batch_size):
            rows = slice(start, start + self.batch_size)
            results[rows] = self._moved(module, images[rows], labels[rows])
        return results

    @abstractmethod
    def _attacked(self, module: Any, images: Tensor, labels: Tensor) -> Tensor:
        """Return the library's adversarial examples of one batch, in [0, 1].

        :param module: the classifier, for images in [0, 1].
        :param images: in [0, 1], a tensor on the model's device.
        :param labels: their classes, int64, likewise.
        """

    @property
    def _code(self) -> ModuleType:
        return code_of("art_nip.attacks.foreign", seen_in(self.estimator, self.library))

    def _moved(self, module: Any, images: Floats, labels: npt.NDArray[np.int64]) -> Floats:
        pixels = PixelRange.of(self.estimator.clip_values)
        unit: Floats = np.clip(pixels.unit(images), 0, 1)
        given = (self._code.tensor(module, array) for array in (unit, labels.astype(np.int64)))
        moved = self._code.array(self._attacked(module, *given))
        low, high = self.estimator.clip_values
        # What was not touched comes back to the last bit.
        adversarial: Floats = np.where(
            moved == unit, images, np.clip(pixels.pixels(moved), low, high)
        ).astype(np.float32)
        return adversarial

    def _check_params(self) -> None:
        super()._check_params()
        check_whole("batch_size", self.batch_size, least=1)


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # not installed, but on the path
        return "unknown"


def check_eps(eps: Any) -> None:
    """Raise a ValueError unless ε is a share of the clip range."""
    number = isinstance(eps, (int, float, np.integer, np.floating)) and not isinstance(eps, bool)
    if not number or not 0 < eps < np.inf:
        raise ValueError(
            f"eps={eps!r}; give a number above 0, the size of the perturbation in images of [0, 1]."
        )
