"""The zoo's architectures as functional Keras models, and their weights as arrays.

Layers bear the dotted names they have in PyTorch: a layer or a weights file means the same in both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

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
)
from art_nip.zoo.median import median
from art_nip.zoo.suppression import AuxiliaryPass

# PyTorch's names of Keras variables, and the axes of kernels in PyTorch's order.
_NAMES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
_AXES = {
    "Conv2D": (3, 2, 0, 1),
    "DepthwiseConv2D": (2, 3, 0, 1),
    "Dense": (1, 0),
    "Suppress": (1, 0),
}


def build(architecture: Architecture, input_shape: tuple[int, int, int]) -> keras.Model:
    """Make the untrained model, initialised as Keras does.

    :param architecture: what to build.
    :param input_shape: shape of one image, (H, W, C), not smaller than the architecture allows.
    :return: a model of float32 images (N, H, W, C) that returns logits (N, nb_classes).
    :raises RuntimeError: if Keras does not run on TensorFlow.
    """
    # ART's TensorFlow estimators need it, and PyTorch as a backend rejects dotted layer names.
    if keras.config.backend() != "tensorflow":
        raise RuntimeError(
            f"Keras runs on {keras.config.backend()!r}, but the Keras models need TensorFlow: "
            "unset KERAS_BACKEND, or create the model with framework='pytorch'."
        )
    inputs = keras.Input(input_shape)
    x = _apply(architecture.features, "features", inputs)
    # Flattened with channels first, so that neuron j of the flatten layer is PyTorch's neuron j.
    x = keras.layers.Permute((3, 1, 2), name="permute")(x)
    x = keras.layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, _apply(architecture.classifier, "classifier", x))


def read(model: keras.Model) -> dict[str, NDArray[Any]]:
    """Return copies of the weights by PyTorch's names and in PyTorch's layouts."""
    return {
        # Contiguous, because a safetensors file of a transposed view would hold other numbers.
        name: np.array(np.transpose(keras.ops.convert_to_numpy(variable), axes), order="C")
        for name, variable, axes in _variables(model)
    }


def write(model: keras.Model, weights: Mapping[str, NDArray[Any]]) -> None:
    """Set the weights that `read` returned, whatever their float type."""
    for name, variable, axes in _variables(model):
        variable.assign(np.transpose(weights[name], np.argsort(axes)))


@keras.saving.register_keras_serializable("art_nip")
class Median(keras.layers.Layer):  # type: ignore[misc]
    """Median over 3×3 pixels of each channel, the edge repeated."""

    def call(self, x: Any) -> Any:
        """Filter images (N, H, W, C)."""
        return median(x, (1, 2))


@keras.saving.register_keras_serializable("art_nip")
class Suppress(keras.layers.Layer):  # type: ignore[misc]
    """Channel-wise activation suppressing, see `architectures.Suppress`.

    :param classes: number of classes of the linear classifier.
    :param keywords: keywords of every layer of Keras.
    """

    auxiliary: AuxiliaryPass | None = None

    def __init__(self, classes: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.classes = classes

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Make the weights of the linear classifier."""
        shape = (input_shape[-1], self.classes)
        self.kernel = self.add_weight(name="kernel", shape=shape, initializer="ones")
        self.bias = self.add_weight(name="bias", shape=(self.classes,), initializer="zeros")

    def call(self, x: Any) -> Any:
        """Weigh the channels of (N, H, W, C) or (N, C)."""
        x = keras.ops.relu(x)
        means = x if len(x.shape) == 2 else keras.ops.mean(x, (1, 2))
        logits = means @ self.kernel + self.bias
        classes = (self.auxiliary or AuxiliaryPass()).classes(logits)
        rows = keras.ops.take(keras.ops.transpose(self.kernel), classes, 0)
        return x * (rows if len(x.shape) == 2 else rows[:, None, None])

    def get_config(self) -> dict[str, Any]:
        """Return the configuration from which Keras makes the layer again."""
        return {**super().get_config(), "classes": self.classes}


def _variables(model: keras.Model) -> Iterator[tuple[str, Any, tuple[int, ...]]]:
    """Yield PyTorch's name of each weight, its variable, and its axes in PyTorch's order."""
    for layer in model.layers:
        for variable in layer.weights:
            axes = _AXES[type(layer).__name__] if variable.name == "kernel" else (0,)
            yield f"{layer.name}.{_NAMES[variable.name]}", variable, axes


def _apply(layers: Iterable[LayerSpec], prefix: str, x: Any) -> Any:
    for index, layer in enumerate(layers):
        x = _call(layer, f"{prefix}.{index}", x)
    return x


def _call(layer: LayerSpec, name: str, x: Any) -> Any:
    match layer:
        case Conv(channels, kernel, stride, same, bias):
            x, padding = _pad(x, kernel, stride, same, name)
            return keras.layers.Conv2D(channels, kernel, stride, padding, use_bias=bias, name=name)(
                x
            )
        case Depthwise(stride):
            x, padding = _pad(x, 3, stride, True, name)
            return keras.layers.DepthwiseConv2D(3, stride, padding, use_bias=False, name=name)(x)
        case BatchNorm(epsilon, keep, scale):
            initial = keras.initializers.Constant(scale)
            return keras.layers.BatchNormalization(
                momentum=keep, epsilon=epsilon, gamma_initializer=initial, name=name
            )(x)
        case ReLU():
            return keras.layers.ReLU(name=name)(x)
        case MaxPool():
            return keras.layers.MaxPooling2D(2, name=name)(x)
        case GlobalAveragePool():
            return keras.layers.GlobalAveragePooling2D(keepdims=True, name=name)(x)
        case architectures.Median():
            return Median(name=name)(x)
        case architectures.Suppress(classes):
            return Suppress(classes, name=name)(x)
        case Dropout(rate):
            return keras.layers.Dropout(rate, name=name)(x)
        case Dense(units):
            return keras.layers.Dense(units, name=name)(x)
        case Residual(body, shortcut):
            paths = [_apply(body, f"{name}.body", x), _apply(shortcut, f"{name}.shortcut", x)]
            return keras.layers.Add(name=name)(paths)


def _pad(x: Any, kernel: int, stride: int, same: bool, name: str) -> tuple[Any, str]:
    """Pad both sides alike, as PyTorch does; Keras' "same" does not if there is a stride."""
    if not same or stride == 1 or kernel == 1:
        return x, "same" if same else "valid"
    return keras.layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")(x), "valid"
