"""What determines a result, as one short text: the key under which it is stored.

Two objects have one fingerprint if their classes and their states are equal, in any process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence, Set
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import cloudpickle
import numpy as np
import numpy.typing as npt
from art.attacks.attack import EvasionAttack
from art.estimators.estimator import BaseEstimator

PACKAGES = (
    *("art-nip", "adversarial-robustness-toolbox", "numpy"),
    *("torch", "tensorflow", "tensorflow-cpu", "keras"),
)

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
    if isinstance(value, (np.ndarray, np.generic)) and not value.dtype.hasobject:
        digest.update(f"array {value.shape} {value.dtype};".encode())
        # As bytes: there are dtypes that give no buffer.
        digest.update(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
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
        if not any("loss" in name for name in state):  # a KerasClassifier takes the model's
            state["loss"] = getattr(value.model, "loss", None)
        return state
    if hasattr(value, "state_dict"):  # a module of PyTorch
        return _module(value)
    if hasattr(value, "get_weights") and hasattr(value, "layers"):  # a model of Keras
        return [_layers(value), value.get_weights()]
    if hasattr(value, "get_config"):  # a loss of Keras
        return _config(value)
    if hasattr(value, "detach"):  # a tensor of PyTorch
        return _numpy(value)
    if hasattr(value, "__func__"):
        return [value.__func__, value.__self__]
    if hasattr(value, "__code__"):
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        defaults = [value.__defaults__, value.__kwdefaults__]
        return [value.__qualname__, _code(value.__code__), defaults, cells]
    if made_as_art_does(value):
        # What ART's classes keep to themselves is made from the rest, some of it on first use.
        return {name: each for name, each in vars(value).items() if _counts(name, each)}
    try:
        reduced = value.__reduce_ex__(4)
    except TypeError:
        return cloudpickle.dumps(value)
    if isinstance(reduced, str):
        return reduced
    return [list(each) if isinstance(each, Iterator) else each for each in reduced[1:]]


def made_as_art_does(value: Any) -> bool:
    """Return whether an object keeps what makes it what it is in attributes without underscore."""
    module = type(value).__module__
    return module.startswith("art.") or bool(getattr(type(value), "made_as_art_does", False))


def _counts(name: str, value: Any) -> bool:
    """Return whether an attribute of an object of ART makes it what it is."""
    return not name.startswith("_") or name == "_targeted" or isinstance(value, EvasionAttack)


def _module(module: Any) -> Any:
    # Buffers once more: a state_dict leaves some out.
    tensors = {**module.state_dict(), **dict(module.named_buffers())}
    settings = {
        f"{path}.{name}": each
        for path, part in module.named_modules()
        for name, each in vars(part).items()
        if not name.startswith("_") and name != "training" and _is_plain(each)
    }
    return [repr(module), tensors, settings]


def _is_plain(value: Any) -> bool:
    """Return whether an attribute of a module is a setting; others may change when it is used."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str, np.ndarray)) or hasattr(value, "detach")


def _layers(model: Any) -> list[Any]:
    return [
        _layers(layer) if hasattr(layer, "layers") else [type(layer).__qualname__, _config(layer)]
        for layer in model.layers
    ]


def _config(value: Any) -> Any:
    try:
        config = value.get_config()
    except NotImplementedError:
        return None
    # Not the name: Keras counts names up within a process.
    return {name: each for name, each in config.items() if name != "name"}


def _code(code: Any) -> list[Any]:
    constants = [_code(each) if hasattr(each, "co_code") else each for each in code.co_consts]
    return [code.co_code, constants, code.co_names]


def _numpy(tensor: Any) -> list[Any]:
    array: npt.NDArray[Any]
    host = tensor.detach().cpu()
    try:
        array = host.numpy()
    except TypeError:  # NumPy has no bfloat16
        array = host.float().numpy()
    return [str(tensor.dtype), array]
