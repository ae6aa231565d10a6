"""PyTorch's part of the tools: its state of randomness."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Set PyTorch's states of randomness, on all devices, and give them back at the end.

    :param seed: whole number from 0 to 2**32 - 1.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
