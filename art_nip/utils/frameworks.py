"""Which framework something is of: the one place that asks, and the way to the code of a framework.

Nothing here imports a framework. What is not imported yet cannot have made a tensor or a model, so
`sys.modules` tells all there is to know. Code of a framework stands in files named after it:
`code_of("art_nip.zoo", framework)` is `art_nip.zoo.pytorch` or `art_nip.zoo.tensorflow`.
"""

from __future__ import annotations

import sys
from enum import Enum
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np


class Framework(str, Enum):
    """What computes: NumPy, PyTorch or TensorFlow. Each is equal to its name as a text."""

    NUMPY = "numpy"
    PYTORCH = "pytorch"
    TENSORFLOW = "tensorflow"

    def __str__(self) -> str:
        return self.value

    @property
    def label(self) -> str:
        """The name as its authors write it."""
        return {"numpy": "NumPy", "pytorch": "PyTorch", "tensorflow": "TensorFlow"}[self.value]


def framework_of(thing: Any) -> Framework | None:
    """Return the framework that something is of, or None if it is of none.

    :param thing: an array or a tensor, a model, or an estimator of ART: this one is of the
        framework of its class, whatever model it holds.
    """
    if isinstance(thing, (np.ndarray, np.generic)):
        return Framework.NUMPY
    # PyTorch first: a Keras model on the backend of PyTorch is a module of PyTorch.
    if _is_of(thing, "torch", "Tensor", "nn.Module"):
        return Framework.PYTORCH
    if _is_of(thing, "tensorflow", "Tensor", "Variable", "Module"):
        return Framework.TENSORFLOW
    if _is_of(thing, "keras", "Layer"):
        return Framework.TENSORFLOW
    names = {kind.__name__ for kind in type(thing).__mro__}
    if "PyTorchEstimator" in names:
        return Framework.PYTORCH
    if names & {"TensorFlowV2Estimator", "KerasEstimator"}:
        return Framework.TENSORFLOW
    return None


def code_of(package: str, framework: Framework | str) -> ModuleType:
    """Import the file of a package that is of a framework.

    :param package: its dotted name.
    :param framework: which file of it.
    :raises ModuleNotFoundError: if the framework is not installed.
    """
    return import_module(f"{package}.{framework}")


def _is_of(thing: Any, package: str, *classes: str) -> bool:
    module = sys.modules.get(package)
    if module is None:
        return False
    return isinstance(thing, tuple(_attribute(module, name) for name in classes))


def _attribute(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name)
    return module
