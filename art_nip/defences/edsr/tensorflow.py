"""EDSR in TensorFlow: its convolutions, and its gradients for training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from art_nip.defences import edsr
from art_nip.utils.tensorflow import to_numpy

Tensor = Any


def tensor(values: npt.NDArray[Any], like: Tensor | None = None) -> Tensor:
    """Return an array as a tensor; TensorFlow places it itself."""
    # Outside of a graph that may be being traced: weights are used again.
    with tf.init_scope():
        return tf.convert_to_tensor(values)


def convolved(x: Tensor, kernels: Tensor, bias: Tensor, relu: bool) -> Tensor:
    """Convolve images, channels last, with kernels of shape (out, in, 3, 3), zero-padded."""
    x = tf.nn.conv2d(x, tf.transpose(kernels, (2, 3, 1, 0)), 1, "SAME") + bias
    return tf.nn.relu(x) if relu else x


def gradients(
    weights: Mapping[str, Tensor], small: Tensor, large: Tensor
) -> tuple[float, dict[str, npt.NDArray[np.float32]]]:
    """Return the error of a network and its gradients; see `gradients` of the package."""
    with tf.GradientTape() as tape:
        tape.watch(weights)
        error = tf.reduce_mean(tf.abs(edsr.doubled(small, weights) - large))
    found = tape.gradient(error, weights)
    return float(error), {name: to_numpy(gradient) for name, gradient in found.items()}
