"""Which framework something is of: the one place that asks, and the way to the code of a framework.

Nothing here imports a framework. A framework that is not imported yet cannot have made a tensor or
a model, so `sys.modules` tells all there is to know. Code of a framework stands in files or folders
named after it: `code_of("art_nip.zoo", framework)` is `art_nip.zoo.pytorch` or
`art_nip.zoo.tensorflow`.
"""

from __future__ import annotations

import os
import sys
from enum import Enum
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import numpy as np


class Framework(str, Enum):
    """What computes: NumPy, PyTorch or TensorFlow. A member is equal to its name as a text."""

    NUMPY = "numpy"
    PYTORCH = "pytorch"
    TENSORFLOW = "tensorflow"

    def __str__(self) -> str:
        return self.value

    @property
    def label(self) -> str:
        """The name as its authors write it."""
        return {"numpy": "NumPy", "pytorch": "PyTorch", "tensorflow": "TensorFlow"}[self.value]

    @property
    def package(self) -> str:
        """The name by which Python imports it."""
        return {"numpy": "numpy", "pytorch": "torch", "tensorflow": "tensorflow"}[self.value]


def framework_of(thing: Any) -> Framework | None:
    """Return the framework that something is of, or None if it is of none.

    :param thing: an array or a tensor, a model, or an estimator of ART, whose class says the
        framework, whatever model it holds.
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


def share_gpus() -> None:
    """Let TensorFlow take memory of GPUs as it needs it, in this process and in those it starts.

    Otherwise a process takes the whole of each GPU, and nothing is left for others. It counts where
    TensorFlow has not used a GPU yet; a user's own setting stays.
    """
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")


def model_framework(model: Any) -> Framework:
    """Return the framework of a model.

    :param model: a `torch.nn.Module` or a `keras.Model`.
    :raises TypeError: if it is anything else, such as an estimator of ART.
    """
    # PyTorch first, as in `framework_of`.
    if _is_of(model, "torch", "nn.Module"):
        return Framework.PYTORCH
    if _is_of(model, "keras", "Model"):
        return Framework.TENSORFLOW
    raise TypeError(
        f"Expected a model, a torch.nn.Module or a keras.Model, but got {type(model).__name__}. Of "
        "an ART estimator, give its `model`."
    )


def is_loaded(framework: Framework | str) -> bool:
    """Return whether a framework has been imported by now, by whomever.

    :param framework: which one.
    """
    return sys.modules.get(Framework(framework).package) is not None


def installed_framework() -> Framework | None:
    """Return PyTorch if it is installed, else TensorFlow if that is; nothing is imported."""
    both = (Framework.PYTORCH, Framework.TENSORFLOW)
    return next((framework for framework in both if find_spec(framework.package)), None)


def loaded_code_of(package: str) -> list[ModuleType]:
    """Import the files of a package that are of the frameworks imported by now.

    What no framework has been imported for, none can have made: this visits all that may have.

    :param package: its dotted name.
    """
    frameworks = (Framework.PYTORCH, Framework.TENSORFLOW)
    return [code_of(package, framework) for framework in frameworks if is_loaded(framework)]


@cache  # also lest TensorFlow, which meets this in the graphs that it traces, try to convert it
def code_of(package: str, framework: Framework | str) -> ModuleType:
    """Import the file or folder of a package that is of a framework.

    :param package: its dotted name.
    :param framework: "pytorch" or "tensorflow".
    :raises ValueError: if there is no such framework.
    :raises ModuleNotFoundError: if the framework is not installed.
    """
    known = (Framework.PYTORCH, Framework.TENSORFLOW)
    if framework not in known:
        raise ValueError(f"framework={framework!s}; give {' or '.join(known)}.")
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
