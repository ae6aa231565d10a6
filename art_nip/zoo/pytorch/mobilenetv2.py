"""MobileNetV2 (Sandler et al., 2018), with the names of torchvision's weights.

It is not one of the paper's models. With it there is a model trained on ImageNet, of images of
224×224, without torchvision.
"""

from __future__ import annotations

import torch
from torch import nn

BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, repeats, stride of the first: Table 2 of the publication."""


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1.

    3,504,872 parameters with 1000 classes. Images are normalised before: torchvision's weights want
    the mean (0.485, 0.456, 0.406) and the standard deviation (0.229, 0.224, 0.225), of images in
    [0, 1].

    :param nb_classes: number of logits.
    """

    def __init__(self, nb_classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [_normalised(3, 32, 3, stride=2)]
        width = 32
        for expansion, channels, repeats, stride in BLOCKS:
            for i in range(repeats):
                layers.append(_Block(width, channels, stride if i == 0 else 1, expansion))
                width = channels
        layers.append(_normalised(width, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, nb_classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, (N, nb_classes), of normalised images, (N, 3, H, W)."""
        logits: torch.Tensor = self.classifier(self.flatten(self.pool(self.features(x))))
        return logits


class _Block(nn.Module):
    """Inverted residual: expand the channels, filter each, project; plus x where shapes allow."""

    def __init__(self, width: int, channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = width * expansion
        self.adds = stride == 1 and width == channels
        self.conv = nn.Sequential(
            *([_normalised(width, wide, 1)] if expansion > 1 else []),
            _normalised(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.conv(x)
        return x + result if self.adds else result


def _normalised(
    width: int, channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(width, channels, kernel, stride, padding, groups=groups, bias=False),
        nn.BatchNorm2d(channels),
        nn.ReLU6(),
    )
