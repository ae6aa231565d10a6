"""ART's attacks on images in units of their range, so that their sizes are shares of it.

Many of ART's attacks take one ε, one step or one noise for all values, and some assume images in
[0, 1]. So they attack a clone of the classifier that takes images in [0, 1] and gives each channel
back its own range before anything else happens to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack

from art_nip.attacks.base import Floats, Mask, Rows, UnitRangeAttack, beside
from art_nip.attacks.parameters import UnsuitableClassifierError
from art_nip.estimators.clones import clone_with
from art_nip.estimators.single_precision import single_precision
from art_nip.utils.frameworks import Framework, code_of, framework_of
from art_nip.utils.ranges import PixelRange


class InUnitRange(UnitRangeAttack):
    """An attack of ART, made for images in [0, 1], on a classifier of any range.

    Parameters are read and set here as they are of the attack.

    :param estimator: an ART classifier with `clip_values`.
    :param kind: the class of the attack.
    :param parameters: of the attack, its sizes as shares of the range.
    """

    # For the benchmark: what it is made of are its public attributes and its attack.
    made_as_art_does = True
    _estimator_requirements = ()

    def __init__(self, estimator: Any, kind: Any, parameters: Mapping[str, Any]) -> None:
        super().__init__(estimator, parameters.get("batch_size", 128))
        self.kind, self.parameters = kind, dict(parameters)
        self._attack: EvasionAttack = kind(in_unit_range(estimator), **parameters)

    @property
    def attack(self) -> Any:
        """The attack of ART, on a clone of the classifier that takes images in [0, 1]."""
        return self._attack

    @property
    def attack_params(self) -> list[str]:  # type: ignore[override]
        """The names of the attack's parameters."""
        return list(self._attack.attack_params)

    def set_params(self, **kwargs: Any) -> None:
        """Change parameters of the attack; all of them, or none if one is not allowed.

        :param kwargs: as of the attack's constructor.
        :raises TypeError: if there is none of such a name.
        :raises ValueError: if a value is not allowed.
        """
        changed = InUnitRange(self.estimator, self.kind, {**self.parameters, **kwargs})
        self.__dict__.update(changed.__dict__)

    def __getattr__(self, name: str) -> Any:
        inner = vars(self).get("_attack")
        if inner is None or name not in inner.attack_params:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(inner, name)

    def __repr__(self) -> str:
        return f"InUnitRange({self._attack!r})"

    def _adversarial(self, x: Floats, labels: Rows | None, **options: Any) -> Floats:
        found = np.asarray(self._attack.generate(x.copy(), labels), np.float32)
        # Of what an attack has made NaN no classifier says anything: it has not succeeded there.
        finite: Mask = np.isfinite(found.reshape(len(x), -1).sum(axis=1))
        found = np.where(beside(finite, x), found, x)
        return np.clip(found, 0, 1)


class _TakesUnitRange:
    """What makes a class of ART estimators one that takes images in [0, 1]."""

    def predict(self, x: Any, *arguments: Any, **keywords: Any) -> Any:
        scores = super().predict(x, *arguments, **keywords)  # type: ignore[misc]
        if not vars(self)["_has_given_range_back"]:
            raise UnsuitableClassifierError(
                f"{type(self).__name__} predicts without ART's preprocessing, where images in "
                "[0, 1] would get their range back. Give it clip_values=(0, 1), and a model that "
                "takes such images: named attacks work on that."
            )
        return scores

    def _apply_preprocessing(self, x: Any, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
        vars(self)["_has_given_range_back"] = True
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
    low, high = estimator.clip_values if clip_values is None else clip_values
    if (np.asarray(low) == 0).all() and (np.asarray(high) == 1).all():
        return single_precision(estimator)
    other = clone_with(_TakesUnitRange, single_precision(estimator))
    other._clip_values_given = tuple(np.asarray(bound, np.float32) for bound in (low, high))
    other._clip_values = np.array([0, 1], np.float32)
    other._has_given_range_back = False
    return other


def range_taken(estimator: Any) -> tuple[Any, Any] | None:
    """Return the range that a clone of `in_unit_range` gives images back; None of others."""
    found: tuple[Any, Any] | None = vars(estimator).get("_clip_values_given")
    return found
