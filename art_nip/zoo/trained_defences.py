"""The proactive defences of the paper, which change a network before it is trained.

All layers with weights keep their names, and the new layers change nothing at first. So a network
that was trained without a defence can be trained further with it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from art_nip.zoo.architectures import (
    Architecture,
    BatchNorm,
    Conv,
    Depthwise,
    GlobalAveragePool,
    LayerSpec,
    MaxPool,
    Median,
    ReLU,
    Residual,
    Suppress,
    output_shape,
)


def cas(architecture: Architecture, nb_classes: int) -> Architecture:
    """Add channel-wise activation suppressing (CAS) to the last hidden layer.

    A linear classifier of the channels' means tells which class they see, and its weights for that
    class multiply the channels, so that those of other classes are suppressed. Bai et al.,
    "Improving Adversarial Robustness via Channel-wise Activation Suppressing", ICLR 2021. They add
    it to the last block of a ResNet, which is the last hidden layer. Behind the convolutions of
    LeNet-5 it would see means of 16 channels, from which no class can be told.

    The weights start at one, where the authors draw them at random, so that the features of a
    trained network are not lost. The choice of the class has no gradient: an attack that follows
    the cross-entropy of the logits alone does not see that it could change it.

    :param architecture: what to change.
    :param nb_classes: number of classes.
    :return: the architecture with a `Suppress` in place of the last ReLU.
    """
    features, classifier = architecture.features, architecture.classifier
    if ReLU() in classifier:
        return Architecture(features, _suppressed(classifier, nb_classes))
    return Architecture(_suppressed(features, nb_classes), classifier)


def _suppressed(layers: tuple[LayerSpec, ...], nb_classes: int) -> tuple[LayerSpec, ...]:
    last = max(index for index, layer in enumerate(layers) if layer == ReLU())
    return (*layers[:last], Suppress(nb_classes), *layers[last + 1 :])


def feature_denoising(architecture: Architecture, nb_classes: int) -> Architecture:
    """Add a denoising block with a median filter (NIP paper, IV-A) to the end of each stage.

    The block adds to the features their median over 3×3 pixels, passed through a 1×1 convolution
    and a BatchNorm that starts at zero: before training, it changes nothing. Xie et al., "Feature
    Denoising for Improving Adversarial Robustness", CVPR 2019. A stage ends where the next layer
    pools or strides.

    :param architecture: what to change.
    :param nb_classes: not needed.
    :return: the architecture with blocks in place of the ReLU that ends each stage.
    """
    layers = architecture.features
    features = tuple(
        _denoised(output_shape(layers[:index], (1, 1, 1))[0])
        if isinstance(layer, ReLU) and _is_coarser(following)
        else layer
        for index, (layer, following) in enumerate(pairwise(layers))
    )
    return Architecture((*features, layers[-1]), architecture.classifier)


def _denoised(channels: int) -> LayerSpec:
    # The block replaces a layer: with one layer more, the names of those behind would change.
    block = (ReLU(), Median(), Conv(channels, kernel=1, bias=False), BatchNorm(scale=0.0))
    return Residual(block, shortcut=(ReLU(),))


def _is_coarser(layer: LayerSpec) -> bool:
    """Return whether a layer's output has fewer pixels than its input."""
    match layer:
        case MaxPool() | GlobalAveragePool():
            return True
        case Conv() | Depthwise():
            return layer.stride > 1
        case Residual():
            return any(map(_is_coarser, layer.body))
    return False


TRAINED_DEFENCES: dict[str, Callable[[Architecture, int], Architecture]] = {
    "cas": cas,
    "feature-denoising": feature_denoising,
}
