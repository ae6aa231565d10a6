"""The zoo's architectures as PyTorch modules, and their weights as arrays.

A model has three children, `features`, `flatten` and `classifier`; none has code of its own. Layers
that PyTorch has no module for are here.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

from art_nip.zoo import architectures
from art_nip.zoo.architectures import (
    Architecture,
    BatchNorm,
    Conv,
    Dense,
    Depthwise,
    Dropout,
    GlobalAveragePool,
    LayerSpec,
    MaxPool,
    ReLU,
    Residual,
    output_shape,
)
from art_nip.zoo.pytorch.median import Median
from art_nip.zoo.suppression import AuxiliaryPass


def build(architecture: Architecture, input_shape: tuple[int, int, int]) -> nn.Sequential:
    """Make the untrained model, initialised as PyTorch does.

    :param architecture: what to build.
    :param input_shape: shape of one image, (C, H, W), not smaller than the architecture allows.
    :return: a model of float32 images (N, C, H, W) that returns logits (N, nb_classes).
    """
    flat = math.prod(output_shape(architecture.features, input_shape))
    return nn.Sequential(
        OrderedDict(
            features=_sequential(architecture.features, input_shape),
            flatten=nn.Flatten(),
            classifier=_sequential(architecture.classifier, (flat,)),
        )
    )


def read(model: nn.Module) -> dict[str, NDArray[Any]]:
    """Return copies of the weights by the names of the state dict."""
    return {
        key: value.numpy(force=True).copy()
        for key, value in model.state_dict().items()
        # PyTorch's counter of batches, which Keras lacks, and which matters only to momentum=None.
        if not key.endswith("num_batches_tracked")
    }


def write(model: nn.Module, weights: Mapping[str, NDArray[Any]]) -> None:
    """Set the weights that `read` returned, whatever their float type."""
    # strict=False for the counters that `read` leaves out.
    model.load_state_dict(
        {key: torch.tensor(value) for key, value in weights.items()}, strict=False
    )


class Sum(nn.Module):
    """body(x) + shortcut(x)."""

    def __init__(self, body: nn.Module, shortcut: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add the two paths, which return tensors of one shape."""
        return torch.add(self.body(x), self.shortcut(x))


class Suppress(nn.Module):
    """Channel-wise activation suppressing, see `architectures.Suppress`.

    :param channels: number of channels of the input.
    :param classes: number of classes of the linear classifier.
    """

    auxiliary: AuxiliaryPass | None = None

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        # No nn.Linear here: NIP takes the first linear module for the start of the dense part.
        self.weight = nn.Parameter(torch.ones(classes, channels))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weigh the channels of (N, C, H, W) or (N, C)."""
        x = x.relu()
        means = x.reshape(*x.shape[:2], -1).mean(-1)
        logits = nn.functional.linear(means, self.weight, self.bias)
        rows = self.weight[(self.auxiliary or AuxiliaryPass()).classes(logits)]
        return x * rows.reshape(*rows.shape, *(1,) * (x.ndim - 2))


def _sequential(layers: Iterable[LayerSpec], shape: tuple[int, ...]) -> nn.Sequential:
    modules = nn.Sequential()
    for layer in layers:
        modules.append(_module(layer, shape))
        shape = output_shape([layer], shape)
    return modules


def _module(layer: LayerSpec, shape: tuple[int, ...]) -> nn.Module:
    width = shape[0]
    match layer:
        case Conv(channels, kernel, stride, same, bias):
            padding = kernel // 2 if same else 0
            return nn.Conv2d(width, channels, kernel, stride, padding, bias=bias)
        case Depthwise(stride):
            return nn.Conv2d(width, width, 3, stride, padding=1, groups=width, bias=False)
        case BatchNorm(epsilon, keep, scale):
            norm = (nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d)(width, epsilon, 1 - keep)
            nn.init.constant_(norm.weight, scale)
            return norm
        case ReLU():
            return nn.ReLU()
        case MaxPool():
            return nn.MaxPool2d(2)
        case GlobalAveragePool():
            return nn.AdaptiveAvgPool2d(1)
        case architectures.Median():
            return Median()
        case architectures.Suppress(classes):
            return Suppress(width, classes)
        case Dropout(rate):
            return nn.Dropout(rate)
        case Dense(units):
            return nn.Linear(width, units)
        case Residual(body, shortcut):
            return Sum(_sequential(body, shape), _sequential(shortcut, shape))
