"""What other libraries' attacks need of PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from art_nip.utils.pytorch import device_of


def tensor(module: torch.nn.Module, array: npt.NDArray[Any]) -> torch.Tensor:
    """Return an array as a tensor on the device of a module."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(device(module))


def device(module: torch.nn.Module) -> torch.device:
    """Return the device of a module; one that holds no tensor computes on the host."""
    return device_of(module) or torch.device("cpu")


def foolbox_model(foolbox: Any, module: torch.nn.Module) -> Any:
    """Return Foolbox's model of a module for images in [0, 1]."""
    return foolbox.PyTorchModel(module, bounds=(0, 1), device=device(module))
