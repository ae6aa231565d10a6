"""The networks of the paper's Table I, each written once as a list of layers without a framework.

The folders `pytorch` and `tensorflow` turn such a list into a model. Parameters are counted as in
Table I and in Keras, with BatchNorm's moving statistics.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias


@dataclass(frozen=True)
class Conv:
    """Square convolution; `same` pads by kernel // 2 on every side, also where stride > 1."""

    channels: int
    kernel: int = 3
    stride: int = 1
    same: bool = True
    bias: bool = True


@dataclass(frozen=True)
class Depthwise:
    """Depthwise 3×3 convolution without bias, padded by one pixel on every side."""

    stride: int = 1


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation with PyTorch's constants, which Keras is given too."""

    epsilon: float = 1e-5
    keep: float = 0.9  # share of the old statistics in each step: Keras' momentum, 1 − PyTorch's
    scale: float = 1.0  # before training


@dataclass(frozen=True)
class ReLU:
    """max(0, x)."""


@dataclass(frozen=True)
class MaxPool:
    """Maximum over 2×2 pixels; an odd last row or column is dropped."""


@dataclass(frozen=True)
class GlobalAveragePool:
    """Mean over all pixels, which leaves one pixel."""


@dataclass(frozen=True)
class Median:
    """Median over 3×3 pixels of each channel, the edge repeated."""


@dataclass(frozen=True)
class Suppress:
    """ReLU, then each channel times its weight in a linear classifier of the channels' means.

    The weights are those of the class that this classifier predicts; in training, those of the true
    class. They start at one, which leaves a ReLU. Behind a dense layer each unit is a channel.
    """

    classes: int


@dataclass(frozen=True)
class Dropout:
    """Dropout while training."""

    rate: float = 0.5


@dataclass(frozen=True)
class Dense:
    """Fully connected layer."""

    units: int


@dataclass(frozen=True)
class Residual:
    """body(x) + shortcut(x); an empty shortcut is the identity."""

    body: tuple[LayerSpec, ...]
    shortcut: tuple[LayerSpec, ...] = ()


LayerSpec: TypeAlias = (
    Conv
    | Depthwise
    | BatchNorm
    | ReLU
    | MaxPool
    | GlobalAveragePool
    | Median
    | Suppress
    | Dropout
    | Dense
    | Residual
)


@dataclass(frozen=True)
class Architecture:
    """A convolutional part, whose output is flattened, and a dense part that ends in the logits."""

    features: tuple[LayerSpec, ...]
    classifier: tuple[LayerSpec, ...]

    @property
    def smallest_image(self) -> int:
        """Side in pixels of the smallest square image that leaves at least one pixel."""
        return next(
            side
            for side in itertools.count(1)
            if min(output_shape(self.features, (1, side, side))) >= 1
        )


def lenet5(nb_classes: int) -> Architecture:
    """LeNet-5 (LeCun et al., 1998) as usual today: ReLU, maximum pooling, 5×5 kernels unpadded.

    172,331 parameters at 48×48×3 and 43 classes (GTSRB, Table I); 64,811 at 32×32×3.
    """
    return Architecture(
        features=(
            *(Conv(6, kernel=5, same=False), ReLU(), MaxPool()),
            *(Conv(16, kernel=5, same=False), ReLU(), MaxPool()),
        ),
        classifier=(Dense(120), ReLU(), Dense(84), ReLU(), Dense(nb_classes)),
    )


def alexnet(nb_classes: int) -> Architecture:
    """AlexNet (Krizhevsky et al., 2012) cut to fit 32×32: a 3×3 stem of stride 1 and two poolings.

    87,650,186 parameters at 32×32×3 and ten classes (CIFAR-10, Table I). The paper does not draw
    its AlexNet: the stem and the places of the poolings were worked out from Table I's counts of
    parameters, layers and neurons, all three of which this meets. No count depends on the kernel of
    the poolings, which is our choice.
    """
    return Architecture(
        features=(
            *(Conv(96), ReLU()),
            *(Conv(256, kernel=5), ReLU(), MaxPool()),
            *(Conv(384), ReLU()),
            *(Conv(384), ReLU()),
            *(Conv(256), ReLU(), MaxPool()),
        ),
        classifier=(
            *(Dense(4096), ReLU(), Dropout()),
            *(Dense(4096), ReLU(), Dropout()),
            Dense(nb_classes),
        ),
    )


def vgg19(nb_classes: int, dense: tuple[int, ...] = (4096, 4096)) -> Architecture:
    """VGG-19 (Simonyan & Zisserman, 2015), normalised after every layer, the output included.

    39,002,738 parameters at 32×32×3 (CIFAR-10), 139,666,034 at 224×224×3 (ImageNet), both with ten
    classes (Table I).

    :param nb_classes: number of logits.
    :param dense: widths of the hidden dense layers.
    """
    hidden: list[LayerSpec] = []
    for units in dense:
        hidden += (Dense(units), BatchNorm(), ReLU(), Dropout())
    return Architecture(
        features=_vgg19_features(bias=True),
        classifier=(*hidden, Dense(nb_classes), BatchNorm()),
    )


def vgg19_small(nb_classes: int) -> Architecture:
    """VGG-19 with a small dense part and no bias before a normalisation; not in Table I.

    Half the parameters of `vgg19` at 32×32 (20,308,682 for ten classes), and the same convolutional
    part: 512 neurons in the flatten layer, as in Fig. 3.
    """
    return Architecture(
        features=_vgg19_features(bias=False),
        classifier=(Dense(512), ReLU(), Dropout(), Dense(nb_classes)),
    )


def _vgg19_features(bias: bool) -> tuple[LayerSpec, ...]:
    layers: list[LayerSpec] = []
    for channels, repeats in ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4)):
        layers += (Conv(channels, bias=bias), BatchNorm(), ReLU()) * repeats
        layers.append(MaxPool())
    return tuple(layers)


def resnet20(nb_classes: int) -> Architecture:
    """ResNet-20 v1 for small images (He et al., 2016, section 4.2), as in Keras' `cifar10_resnet`.

    That example has biases in the convolutions and, where the size changes, 1×1 projections that
    are not normalised. 276,587 parameters at three channels and 43 classes, whatever the image's
    size (GTSRB, Table I).
    """
    layers: list[LayerSpec] = [Conv(16), BatchNorm(), ReLU()]
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        layers += _residual(channels, stride, (Conv(channels, 1, stride),) if stride > 1 else ())
        layers += _residual(channels) * 2
    return Architecture(
        features=(*layers, GlobalAveragePool()),
        classifier=(Dense(nb_classes),),
    )


def _residual(
    channels: int, stride: int = 1, shortcut: tuple[LayerSpec, ...] = ()
) -> tuple[LayerSpec, ...]:
    body = (Conv(channels, stride=stride), BatchNorm(), ReLU(), Conv(channels), BatchNorm())
    return Residual(body, shortcut), ReLU()


def mobilenet(nb_classes: int) -> Architecture:
    """MobileNetV1 of width 1 (Howard et al., 2017), but without BatchNorm and ReLU on the stem.

    3,238,986 parameters at three channels and ten classes, whatever the image's size (ImageNet,
    Table I). The bare stem was found from Table I's counts: 128 parameters, 2 layers and 64 neurons
    fewer than the published network has.
    """
    # fmt: off
    blocks = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
              *((512, 1),) * 5, (1024, 2), (1024, 1))
    # fmt: on
    layers: list[LayerSpec] = [Conv(32, stride=2, bias=False)]
    for channels, stride in blocks:
        layers += (Depthwise(stride), BatchNorm(), ReLU())
        layers += (Conv(channels, kernel=1, bias=False), BatchNorm(), ReLU())
    return Architecture(
        features=(*layers, GlobalAveragePool()),
        classifier=(Dense(nb_classes),),
    )


ARCHITECTURES: dict[str, Callable[[int], Architecture]] = {
    "alexnet": alexnet,
    "lenet5": lenet5,
    "mobilenet": mobilenet,
    "resnet20": resnet20,
    "vgg19": vgg19,
    "vgg19-small": vgg19_small,
}


def count_weights(layers: Iterable[LayerSpec], shape: tuple[int, ...]) -> int:
    """Return how many weights convolutions and dense layers have, without biases.

    :param layers: layers, each fed with the output of the layer before.
    :param shape: shape of the input, as in :func:`output_shape`.
    """
    count = 0
    for layer in layers:
        match layer:
            case Conv():
                count += shape[0] * layer.channels * layer.kernel**2
            case Depthwise():
                count += shape[0] * 9
            case Dense():
                count += shape[0] * layer.units
            case Residual():
                count += count_weights(layer.body, shape) + count_weights(layer.shortcut, shape)
        shape = output_shape([layer], shape)
    return count


def output_shape(layers: Iterable[LayerSpec], shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the layers' output for one image.

    :param layers: layers, each fed with the output of the layer before.
    :param shape: shape of the input, (C, H, W) or, for dense layers, (units,).
    :return: shape of the output, likewise. A size below 1 means that the image was too small.
    """
    return reduce(_output_shape, layers, shape)


def _output_shape(shape: tuple[int, ...], layer: LayerSpec) -> tuple[int, ...]:
    channels, *size = shape
    match layer:
        case Conv():
            reach = 1 if layer.same else layer.kernel
            return layer.channels, *((side - reach) // layer.stride + 1 for side in size)
        case Depthwise():
            return channels, *((side - 1) // layer.stride + 1 for side in size)
        case MaxPool():
            return channels, *(side // 2 for side in size)
        case GlobalAveragePool():
            return channels, 1, 1
        case Dense():
            return (layer.units,)
        case Residual():
            return output_shape(layer.body, shape)
        case BatchNorm() | ReLU() | Median() | Suppress() | Dropout():
            return shape
