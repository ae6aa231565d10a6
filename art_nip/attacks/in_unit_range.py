"""ART's attacks on images in units of their range, so that their sizes are shares of it.

Many of ART's attacks take one ε, one step or one noise for all values, and some assume images in
[0, 1]. So they attack a clone of the classifier that takes images in [0, 1] and gives each channel
back its own range before anything else happens to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from art.attacks.attack import EvasionAttack

from art_nip.attacks.base import Floats, Rows, UnitRangeAttack
from art_nip.estimators.clones import clone_with
from art_nip.estimators.single_precision import single_precision
from art_nip.utils.frameworks import Framework, code_of, framework_of
from art_nip.utils.ranges import PixelRange


class InUnitRange(UnitRangeAttack):
    """An attack of ART, made for images in [0, 1], on a classifier of any range.

    :param estimator: an ART classifier with `clip_values`.
    :param kind: the class of the attack.
    :param parameters: of the attack, its sizes as shares of the range.
    :param batch_size: as of the attack.
    """

    # In words of the benchmark: what it is made of are its public attributes and its attack.
    made_as_art_does = True
    attack_params: ClassVar[list[str]] = [*UnitRangeAttack.attack_params, "kind", "parameters"]
    _estimator_requirements = ()

    def __init__(
        self, estimator: Any, kind: Any, parameters: Mapping[str, Any], batch_size: int = 128
    ) -> None:
        super().__init__(estimator, batch_size)
        self.kind, self.parameters = kind, dict(parameters)
        self._attack: EvasionAttack = kind(in_unit_range(estimator), **parameters)

    @property
    def attack(self) -> Any:
        """The attack of ART, on a clone of the classifier that takes images in [0, 1]."""
        return self._attack

    def _adversarial(self, x: Floats, labels: Rows | None, **options: Any) -> Floats:
        found = np.asarray(self._attack.generate(x.copy(), labels), np.float32)
        # What made a NaN of an image has not attacked it.
        finite: Floats = np.where(np.isfinite(found), found, x)
        return np.clip(finite, 0, 1)


class _TakesUnitRange:
    """What makes a class of ART estimators one that takes images in [0, 1]."""

    def _apply_preprocessing(self, x: Any, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
        preprocess = super()._apply_preprocessing  # type: ignore[misc]
        preprocessed: tuple[Any, Any] = preprocess(self._pixels(x), *arguments, **keywords)
        return preprocessed

    def _apply_preprocessing_gradient(self, x: Any, gradients: Any, **keywords: Any) -> Any:
        back = super()._apply_preprocessing_gradient  # type: ignore[misc]
        gradients = back(self._pixels(x), gradients, **keywords)
        return gradients * self._range_of(gradients).span

    def _pixels(self, x: Any) -> Any:
        pixels = self._range_of(x).pixels(x)
        if not isinstance(pixels, np.ndarray):
            return pixels
        # Defences may refuse what rounding has led outside; what an attack has, is left there.
        low, high = (np.asarray(bound, np.float32) for bound in self._range_given)
        inside = np.where(x <= 1, np.minimum(pixels, high), pixels)
        return np.where(x >= 0, np.maximum(inside, low), inside)

    def _range_of(self, x: Any) -> PixelRange:
        framework = framework_of(x) or Framework.NUMPY
        if framework is Framework.NUMPY:
            return PixelRange.of(self._range_given)
        constant = code_of("art_nip.attacks", framework).constant_beside
        return PixelRange.of(self._range_given, lambda bound: constant(x, bound))

    @property
    def _range_given(self) -> tuple[Any, Any]:
        bounds: tuple[Any, Any] = vars(self)["_clip_values_given"]
        return bounds


def in_unit_range(estimator: Any, clip_values: tuple[Any, Any] | None = None) -> Any:
    """Return a clone of a classifier that takes images in [0, 1], and works in single precision.

    Its losses, scores and gradients are those of the images in the classifier's own range, the
    gradients to the images in [0, 1].

    :param estimator: an ART classifier; it stays as it is. One that takes images in [0, 1] already
        comes back as it is.
    :param clip_values: the range that the model and its defences take images in; None is that of
        the estimator.
    """
    if isinstance(estimator, _TakesUnitRange):
        return estimator
    given = estimator.clip_values if clip_values is None else clip_values
    other = clone_with(_TakesUnitRange, single_precision(estimator))
    other._clip_values_given = tuple(np.asarray(bound, np.float32) for bound in given)
    other._clip_values = np.array([0, 1], np.float32)
    return other


def range_taken(estimator: Any) -> tuple[Any, Any] | None:
    """Return the range that a clone of `in_unit_range` gives images back, None of others."""
    found: tuple[Any, Any] | None = vars(estimator).get("_clip_values_given")
    return found
