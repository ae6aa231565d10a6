"""Plugin of pytest: the tests run as on a machine whose GPU is the simulated device.

`pytest -p tests.device.plugin`; the process has the device from then on.
"""

import functools
from typing import Any

import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import PyTorchClassifier
from art.estimators.pytorch import PyTorchEstimator

from tests.device import simulated

DEVICE = f"{simulated.NAME}:0"


def _chooses_device(kind: Any) -> None:
    """Let a class of ART choose the device where it would choose a GPU."""
    original = kind.__init__

    @functools.wraps(original)
    def initialise(self: Any, *args: Any, **keywords: Any) -> None:
        original(self, *args, **keywords)
        if keywords.get("device_type", "gpu") != "cpu":
            self._device = torch.device(DEVICE)

    kind.__init__ = initialise


def _comes_back_to_device() -> None:
    """Let copies and pickles of ART's classifiers go to the device, as they do to a GPU."""
    original = PyTorchClassifier.__setstate__

    def restore(self: Any, state: dict[str, Any]) -> None:
        original(self, state)
        self._device = torch.device(DEVICE)
        self._model.to(DEVICE)

    PyTorchClassifier.__setstate__ = restore


simulated.install()
# Threads of autograd for the device run no Python.
torch.autograd.set_multithreading_enabled(False)
for kind in (PyTorchEstimator, PreprocessorPyTorch):
    _chooses_device(kind)
_comes_back_to_device()
