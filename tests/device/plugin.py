"""Plugin of pytest: the tests run as on a machine whose GPU is the simulated device.

`pytest -p tests.device.plugin`; the process has the device from then on.
"""

import functools
from typing import Any

import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.pytorch import PyTorchEstimator

from tests.device import simulated


def _chooses_device(kind: Any) -> None:
    """Let a class of ART choose the device where it would choose a GPU."""
    original = kind.__init__

    @functools.wraps(original)
    def initialise(self: Any, *args: Any, **keywords: Any) -> None:
        original(self, *args, **keywords)
        if keywords.get("device_type", "gpu") != "cpu":
            self._device = torch.device(f"{simulated.NAME}:0")

    kind.__init__ = initialise


simulated.install()
# Threads of autograd for the device run no Python.
torch.autograd.set_multithreading_enabled(False)
for kind in (PyTorchEstimator, PreprocessorPyTorch):
    _chooses_device(kind)
