"""EDSR ×2, a residual network that doubles the sides of images, for PyTorch and TensorFlow.

Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017,
https://arxiv.org/abs/1707.02921. A network is its weights: arrays by name, in PyTorch's layout.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.utils.arrays import Array, namespace
from art_nip.utils.frameworks import code_of, framework_of, installed_framework

Weights = Mapping[str, npt.NDArray[np.float32]]

GREY = 0.5
"""Subtracted from images before the network sees them; the paper subtracts the mean colour."""


def shapes(channels: int, features: int, blocks: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the weights of a network, by name.

    :param channels: channels of the images.
    :param features: channels between the convolutions.
    :param blocks: how many residual blocks, of two convolutions each.
    """
    convolutions = {"head": (channels, features)}
    for block in range(blocks):
        convolutions |= {f"body.{block}.{half}": (features, features) for half in (0, 1)}
    convolutions |= {"body.end": (features, features), "upsampler": (features, 4 * features)}
    convolutions |= {"tail": (features, channels)}
    found: dict[str, tuple[int, ...]] = {}
    for name, (given, made) in convolutions.items():
        found |= {f"{name}.weight": (made, given, 3, 3), f"{name}.bias": (made,)}
    return found


def is_network(arrays: Mapping[str, npt.NDArray[Any]]) -> bool:
    """Return whether arrays are the weights of a network of any size."""
    head = arrays.get("head.weight")
    if head is None or head.ndim != 4:
        return False
    expected = shapes(head.shape[1], head.shape[0], n_blocks(arrays))
    return expected == {name: array.shape for name, array in arrays.items()}


def n_blocks(weights: Mapping[str, Any]) -> int:
    """Return how many residual blocks a network has."""
    return sum(name.endswith(".0.weight") for name in weights)


def in_framework(x: Array) -> Array:
    """Return a tensor as it is, and an array as a tensor of PyTorch, if installed, or TensorFlow.

    :param x: array or tensor.
    :raises ImportError: if neither is installed.
    """
    if not isinstance(x, np.ndarray):
        return x
    framework = installed_framework()
    if framework is None:
        raise ImportError(
            "Super-resolution computes in PyTorch or TensorFlow: install art-nip[pytorch] or "
            "art-nip[tensorflow]."
        )
    return code_of(__name__, framework).tensor(x)


def tensor(values: npt.NDArray[Any], like: Array) -> Array:
    """Return an array as a tensor of the framework of `like`, on its device."""
    return _code(like).tensor(values, like)


def doubled(x: Array, weights: Mapping[str, Array]) -> Array:
    """Return images of twice the height and width, with gradients to the weights.

    Unlike the paper's, the network adds its output to the repeated pixels, which saves most of the
    training.

    :param x: PyTorch or TensorFlow tensor, float32, shape (N, C, H, W), in [0, 1].
    :param weights: tensors of the same framework and device.
    """
    code = _code(x)

    def convolved(x: Array, name: str, relu: bool = False) -> Array:
        kernels, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return code.convolved(x, kernels, bias, relu)

    xp = namespace(x)
    x = xp.permute_dims(x, (0, 2, 3, 1))
    features = head = convolved(x - GREY, "head")
    for block in range(n_blocks(weights)):
        inner = convolved(features, f"body.{block}.0", relu=True)
        features = features + convolved(inner, f"body.{block}.1")
    features = convolved(head + convolved(features, "body.end"), "upsampler")
    result = convolved(_shuffled(features), "tail") + _repeated(x)
    return xp.permute_dims(result, (0, 3, 1, 2))


def gradients(
    weights: Mapping[str, Array], small: Array, large: Array
) -> tuple[float, dict[str, npt.NDArray[np.float32]]]:
    """Return the mean absolute error of a network, and its gradients to the weights.

    :param weights: tensors.
    :param small: the input of the network, see :func:`doubled`.
    :param large: the output that the network should give.
    """
    found: tuple[float, dict[str, npt.NDArray[np.float32]]]
    found = _code(small).gradients(weights, small, large)
    return found


def _repeated(x: Array) -> Array:
    """Repeat each pixel as 2×2 pixels."""
    n, height, width, channels = x.shape
    four = namespace(x).concat([x[..., None]] * 4, axis=4)
    return _shuffled(namespace(x).reshape(four, (n, height, width, 4 * channels)))


def _shuffled(x: Array) -> Array:
    """Lay out every four channels as 2×2 pixels."""
    xp = namespace(x)
    n, height, width, channels = x.shape
    x = xp.reshape(x, (n, height, width, channels // 4, 2, 2))
    x = xp.permute_dims(x, (0, 1, 4, 2, 5, 3))
    return xp.reshape(x, (n, 2 * height, 2 * width, channels // 4))


def _code(x: Array) -> ModuleType:
    """Return the file with the code for the framework of a tensor."""
    framework = framework_of(x)
    assert framework is not None
    return code_of(__name__, framework)
