"""Fingerprints of values of any kind."""

from __future__ import annotations

import functools
import hashlib
import inspect
import types
import uuid
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator

from art_nip.benchmark.fingerprints import code, installed, keras
from art_nip.estimators.base import EstimatorAdapter
from art_nip.utils.frameworks import Framework, code_of, framework_of
from art_nip.utils.warned import warn

# These change when a classifier is trained or moved, and do not change what it answers.
IGNORED_PARAMETERS = {
    "optimizer",
    "train_step",
    "device_type",
    "use_amp",
    "opt_level",
    "loss_scale",
}

LENGTH = 32
"""Hexadecimal digits of a fingerprint."""


def fingerprint(*values: Any) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of some values.

    :param values: numbers, texts, arrays, tensors, models, ART estimators, ART attacks and
        preprocessors, functions, classes, and containers and other objects of these. Of an ART
        estimator its model, preprocessing and defences count.
    :return: the fingerprint; if a value cannot be read, another one each time, and a warning says
        which value.
    """
    reader = _Reader()
    digest = hashlib.sha256()
    reader.update(digest, values, frozenset())
    if reader.unseen:
        warn(
            f"What {', '.join(sorted(reader.unseen))} does cannot be read from it, so that no "
            "change of it would be noticed: what depends on it is computed anew each time."
        )
        digest.update(uuid.uuid4().bytes)
    return digest.hexdigest()[:LENGTH]


class _Reader:
    """Reads values into digests, and each function and each class only once."""

    def __init__(self) -> None:
        self.unseen: set[str] = set()
        self._code: dict[int, tuple[bytes, Any]] = {}

    def update(self, digest: Any, value: Any, above: frozenset[int]) -> None:
        """Add a value to a digest; `above` are the objects that it is a part of."""
        if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
            digest.update(f"{type(value).__name__} {value!r};".encode())
            return
        if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
            digest.update(f"array {value.shape} {value.dtype};".encode())
            # As bytes, because some dtypes give no buffer.
            digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
            return
        if id(value) in above:
            digest.update(b"above;")
            return
        above = above | {id(value)}
        if isinstance(value, (type, types.FunctionType, types.ModuleType)):
            digest.update(self._of_code(value, above))
            return
        kind = type(value)
        digest.update(f"{kind.__module__}.{kind.__qualname__}(".encode())
        if _has_users_code(kind):
            digest.update(self._of_code(kind, above))
        self._update_parts(digest, value, above)
        digest.update(b")")

    def _update_parts(self, digest: Any, value: Any, above: frozenset[int]) -> None:
        try:
            parts = list(self._parts(value, above))
        except Exception:  # objects that refuse to be read raise errors of any kind
            parts = []
            self.unseen.add(_name(value))
        for part in parts:
            self.update(digest, part, above)

    def _parts(self, value: Any, above: frozenset[int]) -> Iterable[Any]:
        if isinstance(value, Mapping):
            # Sorted, because keyword arguments mean the same in any order.
            yield from sorted(value.items(), key=lambda item: self._order(item[0], above))
        elif isinstance(value, Set):
            yield from sorted(value, key=lambda item: self._order(item, above))
        elif isinstance(value, Sequence):
            yield from value
        else:
            yield _state(value)
            return
        if installed.is_users(type(value).__module__) and getattr(value, "__dict__", None):
            yield dict(vars(value))

    def _order(self, value: Any, above: frozenset[int]) -> str:
        if isinstance(value, str):
            return value
        digest = hashlib.sha256()
        self.update(digest, value, above)
        return digest.hexdigest()

    def _of_code(self, value: Any, above: frozenset[int]) -> bytes:
        """Return the digest of a function, a class or a module."""
        if id(value) not in self._code:
            # A placeholder until the digest is known, for code that refers to itself.
            self._code[id(value)] = (b"again;", value)
            digest = hashlib.sha256(type(value).__name__.encode())
            for part in _parts_of_code(value):
                self.update(digest, part, above)
            self._code[id(value)] = (digest.digest(), value)
        return self._code[id(value)][0]


def _parts_of_code(value: Any) -> Iterator[Any]:
    if isinstance(value, types.ModuleType):
        return code.parts_of_module(value)
    if isinstance(value, types.FunctionType):
        return code.parts_of_function(value)
    return code.parts_of_class(value)


def _has_users_code(kind: type) -> bool:
    return any(installed.is_users(base.__module__) for base in kind.__mro__) or bool(
        installed.version_of(kind.__module__)
    )


def _name(value: Any) -> str:
    """Return the name by which a warning calls a value that cannot be read."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _state(value: Any) -> Any:
    """Return the state of an object in terms of simpler values.

    :raises Exception: any kind, if the object cannot be read.
    """
    if isinstance(value, BaseEstimator):
        return _estimator(value)
    if isinstance(value, EstimatorAdapter):
        return value.identity()
    if keras.is_of_keras(value):
        return keras.parts(value)
    if framework_of(value) is Framework.PYTORCH or hasattr(value, "inlined_graph"):
        return code_of("art_nip.benchmark.fingerprints", Framework.PYTORCH).parts(value)
    if hasattr(value, "get_config"):  # a loss of Keras
        return [keras.configuration(value), keras.functions(value), _of_users(value)]
    if hasattr(value, "numpy") and hasattr(value, "dtype"):  # a tensor of TensorFlow
        return [str(value.dtype), value.numpy()]
    if hasattr(value, "python_function"):  # a tf.function
        return value.python_function
    if isinstance(value, types.MethodType):
        return [value.__func__, value.__self__]
    if isinstance(value, types.CellType):
        return code.contents(value)
    if isinstance(value, weakref.ref):
        return value()
    if isinstance(value, (functools._lru_cache_wrapper, types.MethodDescriptorType)):
        return getattr(value, "__wrapped__", repr(value))
    if isinstance(value, (property, staticmethod, classmethod, functools.cached_property)):
        return code.unwrapped(value)
    if made_as_art_does(value):
        # Private attributes of ART's classes are made from the others, some of them on first use.
        return {
            name: attribute for name, attribute in vars(value).items() if _counts(name, attribute)
        }
    return _reduced(value)


def _reduced(value: Any) -> Any:
    """Return what an object would be pickled as."""
    reduced = value.__reduce_ex__(4)
    if isinstance(reduced, str):
        module = inspect.getmodule(value)
        users = module is not None and installed.is_users(module.__name__)
        return [getattr(value, "__module__", None), reduced, module if users else None]
    return [list(part) if isinstance(part, Iterator) else part for part in reduced]


def _estimator(estimator: Any) -> dict[str, Any]:
    parameters = parameters_of(estimator)
    state = {name: parameters[name] for name in parameters.keys() - IGNORED_PARAMETERS}
    if not any("loss" in name for name in state):  # a KerasClassifier takes the model's
        state["loss"] = getattr(estimator.model, "loss", None)
    return {**state, "of users": _of_users(estimator)}


def parameters_of(estimator: Any) -> dict[str, Any]:
    """Return what the constructor of an ART estimator was given.

    ART's `get_params` raises where a class keeps a parameter under a private name only.
    """
    return {
        name: getattr(estimator, name)
        if hasattr(estimator, name)
        else getattr(estimator, f"_{name}")
        for name in estimator.estimator_params
    }


def _of_users(value: Any) -> dict[str, Any]:
    """Return the attributes of an object that the user's classes among its own use."""
    used = code.mentioned(type(value))
    return {name: attribute for name, attribute in vars(value).items() if name in used}


def made_as_art_does(value: Any) -> bool:
    """Return whether the public attributes of an object determine all that it does."""
    module = type(value).__module__
    return module.startswith("art.") or bool(getattr(type(value), "made_as_art_does", False))


def _counts(name: str, value: Any) -> bool:
    """Return whether an attribute is part of the state of an object of ART."""
    return not name.startswith("_") or name == "_targeted" or isinstance(value, EvasionAttack)
