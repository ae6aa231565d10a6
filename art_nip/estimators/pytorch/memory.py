"""Arrays in the memory of the model's device if they fit there, and rows fetched from them."""

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from art_nip.estimators.pytorch.modes import plain


def held(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Return an array on a device if it fits there, else on the host.

    It fits if half of what is free is enough.
    """
    with plain(device):
        host = torch.from_numpy(array)
        fits = device.type != "cuda" or 2 * array.nbytes <= free_memory(device)
        return host.to(device) if fits else host


def rows(
    array: npt.NDArray[Any], device: torch.device, hold: Callable[[npt.NDArray[Any]], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Return the function from indices to these rows of an array, on a device.

    :param hold: brings an array to the device if it fits there.
    """
    there = hold(array)

    def fetched(indices: Tensor) -> Tensor:
        nonlocal there
        if there.device != device:
            # Memory may have become free since.
            there = hold(array)
        return there[indices.to(there.device)].to(device)

    return fetched


def free_memory(device: torch.device) -> int:
    """Return how many bytes of a GPU can be allocated.

    PyTorch keeps what it has freed, so that the driver counts it as used.

    :param device: a GPU of CUDA.
    """
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
