"""Sends classifiers, attacks and defences to another process, or binds them to another classifier.

ART's own pickling writes files and fails in TensorFlow. Here the receiving process makes the
classifier anew, and attacks and defences are sent without the classifier that they hold.
"""

from __future__ import annotations

import inspect
import io
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import cloudpickle
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator

from art_nip.benchmark.fingerprints import made_as_art_does
from art_nip.estimators.single_precision import SinglePrecision, single_precision

# Parameters of classifiers that only training needs.
TRAINING_PARAMETERS = {"optimizer", "train_step"}


class Detached:
    """An object without the ART classifier that it holds, ready to be bound to another classifier.

    :param thing: an attack, a preprocessor, or anything else.
    :param estimator: the classifier that it may hold, itself or only the model.
    """

    def __init__(self, thing: Any, estimator: Any) -> None:
        file = io.BytesIO()
        _Detacher(file, estimator).dump(thing)
        self._bytes = file.getvalue()

    def bind(self, estimator: Any) -> Any:
        """Return a new copy of the object that holds this classifier."""
        return _Binder(io.BytesIO(self._bytes), _held(estimator)).load()


def packed(estimator: Any) -> bytes:
    """Return an ART classifier as bytes.

    :param estimator: a classifier of PyTorch, TensorFlow or Keras, or one whose `get_params`
        returns everything that its constructor takes.
    :raises TypeError: if it cannot be pickled; the message says what to do.
    """
    taken = inspect.signature(type(estimator)).parameters.keys() - TRAINING_PARAMETERS
    parameters = {name: value for name, value in estimator.get_params().items() if name in taken}
    try:
        classifier = cloudpickle.dumps((type(estimator), parameters))
        return bytes(cloudpickle.dumps((_keras_modules(), classifier)))
    except Exception as error:
        raise TypeError(
            f"This {type(estimator).__name__} cannot be sent to another process ({error}). Run the "
            'benchmark with engine="local" and jobs=1.'
        ) from error


def unpacked(payload: bytes) -> Any:
    """Return a new copy of the classifier that `packed` was given."""
    modules, classifier = cloudpickle.loads(payload)
    for module in modules:
        # A module that cannot be imported here may not be needed; if it is, unpickling below fails.
        with suppress(ImportError):
            import_module(module)
    kind, parameters = cloudpickle.loads(classifier)
    return kind(**parameters)


def _keras_modules() -> list[str]:
    """Return the modules of the layers that Keras must know by name to make a model anew."""
    keras = sys.modules.get("keras")
    if keras is None:
        return []
    known = {kind.__module__ for kind in keras.saving.get_custom_objects().values()}
    return sorted(known - {"__main__"})


def alike(estimator: Any, other: Any) -> bool:
    """Return whether two ART estimators are identical, or have the same model and defences."""
    if estimator is other:
        return True
    models = [getattr(candidate, "model", None) for candidate in (estimator, other)]
    if models[0] is None or models[0] is not models[1]:
        return False
    return bool(estimator.preprocessing_operations == other.preprocessing_operations)


def _held(estimator: Any) -> dict[str, Any]:
    """Return what an attack or a defence may hold of a classifier."""
    held = {"estimator": estimator}
    for name in ("model", "_model"):
        if hasattr(estimator, name):
            held[name] = getattr(estimator, name)
    return held


class _Detacher(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, estimator: Any) -> None:
        super().__init__(file)
        self._estimator = estimator
        self._names = {id(held): name for name, held in _held(estimator).items()}

    def persistent_id(self, thing: Any) -> str | None:
        if isinstance(thing, BaseEstimator) and self._is_held(thing):
            return "estimator"
        return self._names.get(id(thing))

    def reducer_override(self, thing: Any) -> Any:
        if self._is_of_its_estimator(thing):
            # ART's outer attack hands some parameters to the inner one, and keeps no attribute.
            parameters = {
                name: getattr(thing if hasattr(thing, name) else thing._attack, name)
                for name in list(inspect.signature(type(thing)).parameters)[1:]
                if name != "summary_writer"
            }
            return _made, (type(thing), self._estimator, parameters)
        return super().reducer_override(thing)

    def _is_of_its_estimator(self, thing: Any) -> bool:
        """Return whether an attack of ART holds an object that was made for this very estimator.

        The object is another attack (PGD has one class for each kind of estimator), or another
        estimator of the same model (with the loss that AutoPGD attacks).
        """
        if not (isinstance(thing, EvasionAttack) and made_as_art_does(thing)):
            return False
        if self._is_held(thing.estimator):
            return isinstance(getattr(thing, "_attack", None), EvasionAttack)
        return alike(thing.estimator, self._estimator)

    def _is_held(self, estimator: Any) -> bool:
        return estimator is self._estimator or (
            isinstance(estimator, SinglePrecision) and alike(estimator, self._estimator)
        )


def _made(kind: Any, estimator: Any, parameters: dict[str, Any]) -> Any:
    attack = kind(estimator, **parameters)
    if isinstance(estimator, SinglePrecision):
        attack._estimator = single_precision(attack.estimator)
    return attack


class _Binder(cloudpickle.pickle.Unpickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, held: dict[str, Any]) -> None:
        super().__init__(file)
        self._held = held

    def persistent_load(self, name: str) -> Any:
        return self._held[name]
