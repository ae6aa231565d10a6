"""PyTorch's part of the tools: its state of randomness."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy.typing as npt
import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Set PyTorch's states of randomness, on all devices, and give them back at the end.

    :param seed: whole number from 0 to 2**32 - 1.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def to_numpy(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return a tensor of any device as a NumPy array, without its graph.

    :param tensor: of any dtype; NumPy has no bfloat16, which becomes float32.
    """
    tensor = tensor.detach().cpu()
    array: npt.NDArray[Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array
