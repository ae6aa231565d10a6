"""What tests of every room make: ART classifiers of a framework, and images in its axis order."""

import sys
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch

from art_nip import zoo
from art_nip.zoo.classifiers import as_classifier

PACKAGES = {"pytorch": "torch", "tensorflow": "tensorflow"}

FRAMEWORKS = tuple(name for name, package in PACKAGES.items() if find_spec(package))
"""Those that are installed; the others are not tested."""

MISSING = {
    package
    for package in ("adv_lib", "distributed", "jupytext", "keras", "ray", "sporco", "tensorflow")
    if find_spec(package) is None
}
"""Packages that are not installed, which tests import where they need them: they are skipped."""


class ByFramework(dict[str, Any]):
    """What there is of frameworks by their names; a test is skipped that asks for a missing one."""

    def __missing__(self, name: str) -> Any:
        if name in MISSING:
            pytest.skip(f"needs {name}, which is not installed")
        raise KeyError(name)


def lenets(model: Any, input_shape: tuple[int, int, int], nb_classes: int = 10) -> ByFramework:
    """Return a LeNet-5 of PyTorch, and one of Keras with its weights where TensorFlow is installed.

    :param input_shape: channels first.
    """
    models = ByFramework(pytorch=model)
    if "tensorflow" in FRAMEWORKS:
        channels, *sides = input_shape
        models["tensorflow"] = zoo.create(
            "lenet5", framework="tensorflow", input_shape=(*sides, channels), nb_classes=nb_classes
        )
        zoo.copy_weights(model, models["tensorflow"])
    return models


SIMULATED = "tests.device.plugin" in sys.modules
"""Whether ART's PyTorch classifiers are on the simulated device."""

ON_GPU = torch.cuda.is_available() and not SIMULATED
"""Whether they are on a real GPU, which rounds otherwise, and adds in another order each time."""

ON_DEVICE = SIMULATED or ON_GPU
"""Whether ART's PyTorch classifiers are on a device: the simulated one, or a GPU."""


def on_host_only(reason: str) -> Any:
    """Return the mark of a test that cannot run on a device."""
    return pytest.mark.skipif(ON_DEVICE, reason=reason)


def not_simulated(reason: str) -> Any:
    """Return the mark of a test that can run on a GPU, but not on the simulated device."""
    return pytest.mark.skipif(SIMULATED, reason=reason)


no_inference_mode = not_simulated("The simulated device has no tensors of inference mode.")
no_scatter = not_simulated("Without CUDA DataParallel cannot share work among devices.")


def to_framework(x: np.ndarray, framework: str) -> np.ndarray:
    """Return images in the axis order of a framework."""
    return x if framework == "pytorch" else np.ascontiguousarray(np.moveaxis(x, 1, -1))


@cache
def device() -> Any:
    """Return the device of PyTorch that ART's classifiers choose: a GPU, if there is one."""
    return make_classifier("pytorch", torch.nn.Linear(1, 2), (1,), 2).device


def on_device(array: np.ndarray, **keywords: Any) -> Any:
    """Return an array as a tensor of PyTorch on the device that ART's classifiers choose."""
    return torch.tensor(array, device=device(), **keywords)


def autocast() -> Any:
    """Return the context in which PyTorch computes in bfloat16 on the device of classifiers."""
    return torch.autocast(device().type, torch.bfloat16)


def make_classifier(
    framework: str,
    model: Any,
    input_shape: tuple[int, ...] | None = None,
    nb_classes: int = 10,
    **keywords: Any,
) -> Any:
    """Return a PyTorchClassifier or TensorFlowV2Classifier of a model of logits."""
    shape = input_shape or ((1, 28, 28) if framework == "pytorch" else (28, 28, 1))
    return as_classifier(model, framework, shape, nb_classes, **keywords)
