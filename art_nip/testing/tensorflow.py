"""The side of TensorFlow of the checks: `forward` of a preprocessor, and what should not change."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf
from art.defences.preprocessor.preprocessor import PreprocessorTensorFlowV2

from art_nip.testing.assertions import Array, require


class Native:
    """`forward` and its gradient, from arrays to arrays."""

    def __init__(self, preprocessor: PreprocessorTensorFlowV2) -> None:
        self.preprocessor = preprocessor

    def forward(self, x: Array, y: Array | None = None) -> tuple[Array, Array | None]:
        labels = None if y is None else tf.convert_to_tensor(y)
        result, labels = self.preprocessor.forward(tf.convert_to_tensor(x), labels)
        return result.numpy(), None if labels is None else labels.numpy()

    def vector_jacobian_product(self, x: Array, grad: Array) -> Array:
        given = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(given)
            result, _ = self.preprocessor.forward(given)
        gradient = tape.gradient(result, given, output_gradients=tf.convert_to_tensor(grad))
        require(gradient is not None, "the output of forward does not depend on x for autograd")
        # A gather has a sparse gradient, which has no `numpy()`.
        dense: Array = tf.convert_to_tensor(gradient).numpy()
        return dense


STATES: dict[type, Callable[[Any], dict[str, Any]]] = {
    tf.Variable: lambda variable: {"value": variable.numpy().tobytes()},
    keras.Layer: lambda layer: {"trainable": layer.trainable, "call": "call" in vars(layer)},
}
"""Of which things no state may change, and what that state is."""
