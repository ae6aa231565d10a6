"""Classifiers, attacks and defences on their way to another process, or to another classifier.

ART's own pickling writes files and fails in TensorFlow; here a classifier is made anew where it
arrives, and attacks and defences travel without the classifier that they hold.
"""

from __future__ import annotations

import io
from typing import Any

import cloudpickle

# What only training needs.
LEFT_BEHIND = {"optimizer", "train_step"}


class Detached:
    """An object that holds an ART classifier, without it: ready to be bound to another.

    :param thing: an attack, a preprocessor, or anything else.
    :param estimator: the classifier that it may hold, itself or only the model.
    """

    def __init__(self, thing: Any, estimator: Any) -> None:
        held = _held(estimator)
        file = io.BytesIO()
        _Detacher(file, held).dump(thing)
        self._bytes = file.getvalue()

    def bind(self, estimator: Any) -> Any:
        """Return the object anew, holding another classifier, or the same one."""
        return _Binder(io.BytesIO(self._bytes), _held(estimator)).load()


def packed(estimator: Any) -> bytes:
    """Return an ART classifier as bytes.

    :param estimator: one of PyTorch, TensorFlow or any kind whose constructor takes what
        `get_params` returns.
    :raises TypeError: if it cannot be pickled; the message says what to do.
    """
    parameters = estimator.get_params()
    for name in LEFT_BEHIND & set(parameters):
        del parameters[name]
    try:
        return bytes(cloudpickle.dumps((type(estimator), parameters)))
    except Exception as error:
        raise TypeError(
            f"This {type(estimator).__name__} cannot be sent to another process ({error}). Run the "
            'benchmark with engine="local" and jobs=1.'
        ) from error


def unpacked(payload: bytes) -> Any:
    """Return the classifier that `packed` was given, made anew."""
    kind, parameters = cloudpickle.loads(payload)
    return kind(**parameters)


def _held(estimator: Any) -> dict[str, Any]:
    """Return what an attack or a defence may hold of a classifier."""
    held = {"estimator": estimator}
    for name in ("model", "_model"):
        if hasattr(estimator, name):
            held[name] = getattr(estimator, name)
    return held


class _Detacher(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, held: dict[str, Any]) -> None:
        super().__init__(file)
        self._names = {id(each): name for name, each in held.items()}

    def persistent_id(self, thing: Any) -> str | None:
        return self._names.get(id(thing))


class _Binder(cloudpickle.pickle.Unpickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, held: dict[str, Any]) -> None:
        super().__init__(file)
        self._held = held

    def persistent_load(self, name: str) -> Any:
        return self._held[name]
