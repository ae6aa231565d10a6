"""EDSR in PyTorch: its convolutions, and its gradients for training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from art_nip.defences import edsr
from art_nip.utils.pytorch import to_numpy


def tensor(values: npt.NDArray[Any], like: Tensor | None = None) -> Tensor:
    """Return an array as a tensor, on the device of `like`."""
    return torch.tensor(values, device=None if like is None else like.device)


def convolved(x: Tensor, kernels: Tensor, bias: Tensor, relu: bool) -> Tensor:
    """Convolve images, channels last, with kernels of shape (out, in, 3, 3), zero-padded."""
    # These are views, not copies: this is how PyTorch stores channels last.
    with torch.autocast(x.device.type, enabled=False):
        x = torch.nn.functional.conv2d(x.permute(0, 3, 1, 2), kernels, bias, padding=1)
    return (x.relu() if relu else x).permute(0, 2, 3, 1)


def gradients(
    weights: Mapping[str, Tensor], small: Tensor, large: Tensor
) -> tuple[float, dict[str, npt.NDArray[np.float32]]]:
    """Return the error of a network and its gradients; see `gradients` of the package.

    They are the same in `torch.inference_mode`, in `no_grad` and under autocast.
    """
    off = torch.autocast(small.device.type, enabled=False)
    with torch.inference_mode(False), torch.enable_grad(), off:
        leaves = {name: weight.clone().requires_grad_() for name, weight in weights.items()}
        error = (edsr.doubled(small.clone(), leaves) - large.clone()).abs().mean()
        found = torch.autograd.grad(error, list(leaves.values()))
    names = zip(leaves, found, strict=True)
    return error.item(), {name: to_numpy(gradient) for name, gradient in names}
