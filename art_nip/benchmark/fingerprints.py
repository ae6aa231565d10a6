"""What determines a result, as one short text: the key under which it is stored.

Two objects have one fingerprint if their classes and their states are equal, in any process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence, Set
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import cloudpickle
import numpy as np
from art.estimators.estimator import BaseEstimator

PACKAGES = ("art-nip", "adversarial-robustness-toolbox", "numpy", "torch", "tensorflow", "keras")

# They do not change what a trained classifier answers, and change when it is trained or moved.
IGNORED = {"optimizer", "train_step", "device_type", "use_amp", "opt_level", "loss_scale"}


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on, those that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def fingerprint(*values: Any) -> str:
    """Return 32 hexadecimal digits of the SHA-256 of some values.

    :param values: numbers, texts, arrays, tensors, models, ART estimators, ART attacks and
        preprocessors, and containers and other objects of these. Of an ART estimator its model,
        preprocessing and defences count.
    """
    digest = hashlib.sha256()
    _update(digest, values, set())
    return digest.hexdigest()[:32]


def _update(digest: Any, value: Any, above: set[int]) -> None:
    """Add a value to a digest; `above` are the objects that it is a part of."""
    if value is None or isinstance(value, (bool, int, float, complex, str, bytes)):
        digest.update(f"{type(value).__name__} {value!r};".encode())
        return
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype != object:
        digest.update(f"array {value.shape} {value.dtype};".encode())
        digest.update(np.ascontiguousarray(value).data)
        return
    if id(value) in above:
        digest.update(b"above;")
        return
    kind = value if isinstance(value, type) else type(value)
    digest.update(f"{kind.__module__}.{kind.__qualname__}(".encode())
    _update_parts(digest, value, above | {id(value)})
    digest.update(b")")


def _update_parts(digest: Any, value: Any, above: set[int]) -> None:
    if isinstance(value, type):
        return
    if isinstance(value, Mapping):
        # In any order: keyword arguments are the same in all.
        parts = sorted(value.items(), key=lambda item: str(item[0]))
    elif isinstance(value, Set):
        parts = sorted(value, key=str)
    elif isinstance(value, Sequence):
        parts = list(value)
    else:
        parts = [_state(value)]
    for part in parts:
        _update(digest, part, above)


def _state(value: Any) -> Any:
    """Return what makes an object what it is, in simpler terms."""
    if isinstance(value, BaseEstimator):
        parameters = value.get_params()
        state = {name: parameters[name] for name in parameters.keys() - IGNORED}
        # Keras's losses hold what differs between processes.
        return {**state, **{name: str(type(state[name])) for name in state if "loss" in name}}
    if hasattr(value, "state_dict"):  # a module of PyTorch
        return [repr(value), {name: _numpy(each) for name, each in value.state_dict().items()}]
    if hasattr(value, "get_weights") and hasattr(value, "layers"):  # a model of Keras
        # Not their names: Keras counts them up within a process.
        return [[_layer(layer) for layer in value.layers], value.get_weights()]
    if hasattr(value, "detach"):  # a tensor of PyTorch
        return _numpy(value)
    if hasattr(value, "__code__"):
        return [value.__qualname__, value.__code__.co_code]
    own_state = getattr(type(value), "__getstate__", None)
    if own_state is not getattr(object, "__getstate__", None):
        return value.__getstate__()
    if not hasattr(value, "__dict__"):
        return cloudpickle.dumps(value)
    if type(value).__module__.startswith("art."):
        # What ART's classes keep to themselves is made from the rest, some of it on first use.
        return {name: each for name, each in vars(value).items() if not name.startswith("_")}
    return vars(value)


def _layer(layer: Any) -> str:
    activation = getattr(getattr(layer, "activation", None), "__name__", "")
    return f"{type(layer).__qualname__} {activation}"


def _numpy(tensor: Any) -> Any:
    return tensor.detach().cpu().numpy()
