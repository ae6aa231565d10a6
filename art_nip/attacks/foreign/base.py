"""What adapters of other libraries' attacks share: an ART attack that hands a module to them.

These libraries are written for images in [0, 1]; the module scales them to the classifier's range.
"""

from __future__ import annotations

from abc import abstractmethod
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from art.estimators.classification.classifier import ClassifierMixin
from art.estimators.estimator import BaseEstimator

from art_nip.attacks.base import Floats, Rows, UnitRangeAttack
from art_nip.estimators.base import seen_in
from art_nip.estimators.module import as_module
from art_nip.utils.arrays import to_numpy
from art_nip.utils.frameworks import Framework, code_of
from art_nip.utils.validation import is_number

Tensor = Any


class ForeignAttack(UnitRangeAttack):
    """An untargeted attack of another library.

    `generate` returns what the library's attack gives. It raises a ValueError if a defence is
    written for NumPy and `straight_through` is not set.

    :param estimator: an ART classifier with `clip_values`, defended or not, of one of the
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
        *UnitRangeAttack.attack_params,
        *("eps", "straight_through"),
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
        self, estimator: Any, *, batch_size: int = 128, straight_through: bool = False
    ) -> None:
        super().__init__(estimator, batch_size)
        self.straight_through = straight_through
        self.library_version = _version(self.distribution)
        if seen_in(estimator, self.library) not in self.frameworks:
            labels = " and ".join(known.label for known in self.frameworks)
            raise TypeError(
                f"{self.library} attacks models of {labels}, and this is a "
                f"{type(estimator).__name__}. {self.instead}".rstrip()
            )
        if estimator.clip_values is None:
            raise ValueError(
                f"The classifier has no clip_values, and {self.library} needs the range of the "
                "images: give it clip_values=(min, max)."
            )

    def _adversarial(self, x: Floats, labels: Rows | None, **options: Any) -> Floats:
        classes = self._scores(x).argmax(axis=1) if labels is None else labels
        module = as_module(self.estimator, straight_through=self.straight_through, unit_images=True)
        moved: Floats = np.empty_like(x)
        for start in range(0, len(x), self.batch_size):
            rows = slice(start, start + self.batch_size)
            images, goal = (self._code.tensor(module, array[rows]) for array in (x, classes))
            moved[rows] = to_numpy(self._attacked(module, images, goal))
        return moved

    @abstractmethod
    def _attacked(self, module: Any, images: Tensor, labels: Tensor) -> Tensor:
        """Return the library's adversarial examples of one batch, in [0, 1].

        :param module: the classifier, for images in [0, 1].
        :param images: in [0, 1], a tensor on the model's device.
        :param labels: their true classes, int64, likewise.
        """

    @property
    def _code(self) -> ModuleType:
        return code_of("art_nip.attacks.foreign", seen_in(self.estimator, self.library))


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # not installed, but on the path
        return "unknown"


def check_eps(eps: Any) -> None:
    """Raise a ValueError unless ε is a share of the clip range."""
    if not is_number(eps) or eps <= 0:
        raise ValueError(
            f"eps={eps!r}; give a number above 0, the size of the perturbation in images of [0, 1]."
        )
