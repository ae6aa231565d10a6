"""The 3×3 median filter as a PyTorch module, with a gradient of its own.

Automatic differentiation of the minima and maxima takes five times as long.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import torch
from torch import nn

from art_nip.zoo.median import median

_SHIFTS = tuple(product(range(3), repeat=2))


class Median(nn.Module):
    """Median over 3×3 pixels of each channel, the edge repeated."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Filter images (N, C, H, W)."""
        filtered: torch.Tensor = _Median.apply(x)  # type: ignore[no-untyped-call]
        return filtered


class _Median(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        filtered: torch.Tensor = median(x, (2, 3))
        ctx.save_for_backward(x, filtered)
        return filtered

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        """Give the gradient to the pixel that is the median, in equal shares if several are."""
        x, filtered = ctx.saved_tensors
        height, width = x.shape[2:]
        padded = nn.functional.pad(x, (1, 1, 1, 1), mode="replicate")
        windows = [(..., slice(i, i + height), slice(j, j + width)) for i, j in _SHIFTS]
        chosen = [padded[window] == filtered for window in windows]
        share = gradient / torch.stack(chosen).sum(0)
        spread = torch.zeros_like(padded)
        for window, mask in zip(windows, chosen, strict=True):
            spread[window] += share * mask
        for edge, inner in ((0, 1), (-1, -2)):
            spread[:, :, inner] += spread[:, :, edge]
        for edge, inner in ((0, 1), (-1, -2)):
            spread[..., inner] += spread[..., edge]
        return spread[..., 1:-1, 1:-1]
