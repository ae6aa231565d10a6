"""NIP's view of a Keras model on TensorFlow.

Sub-models lose gradients or fail on many kinds of Keras models; replacing a layer's `call` while a
graph is traced works on all. The graph stays correct afterwards, also when weights change, and the
layer is as it was.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from art_nip.estimators.base import Call, EstimatorAdapter, Layer, Weights
from art_nip.estimators.keras_calls import passing_through
from art_nip.estimators.passes import note

Tensor = Any


class TensorFlowAdapter(EstimatorAdapter):
    """The neurons of an ART `TensorFlowV2Classifier`, or of a `KerasClassifier` in eager mode."""

    framework = f"tensorflow {tf.__version__}"

    _cached_influence: Callable[[Tensor], Tensor] | None = None
    _cached_activation: tuple[Layer, Callable[[Tensor], Tensor]] | None = None
    _cached_observer: tuple[Weights, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]] | None = (
        None
    )

    @staticmethod
    def unwrapped(model: Any) -> Any:
        """Return the Keras model; other callables have no layers to look at."""
        if not isinstance(model, keras.Model):
            raise TypeError(
                f"The estimator's model is a {type(model).__name__}, not a keras.Model: NIP cannot "
                "see its layers. Wrap it in a subclass of keras.Model."
            )
        if not tf.executing_eagerly():
            raise TypeError(
                "Eager execution is off, and NIP needs it: remove "
                "tf.compat.v1.disable_eager_execution()."
            )
        return model

    @property
    def device(self) -> str:
        """TensorFlow places tensors itself; models do not move."""
        return "tensorflow"

    def influence(self, x: Tensor) -> Tensor:
        """Return neuron influence; see the base class."""
        if self._cached_influence is None:
            self._cached_influence = self._compiled(self._influence)
        note(self.model, forward=len(x), backward=len(x))
        # No tape of the caller's shall record what happens in here.
        return self._cached_influence(self.constant(x))

    def activation(self, x: Tensor, layer: Layer) -> Tensor:
        """Return what a layer gives; see the base class."""
        if self._cached_activation is None or self._cached_activation[0] != layer:
            self._cached_activation = layer, self._compiled(lambda x: self._activation(x, layer))
        note(self.model, forward=len(x))
        return self._cached_activation[1](self.constant(x))

    def observer(self, weights: Weights) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
        """Return the function that fitting calls; see the base class."""
        if self._cached_observer is None or self._cached_observer[0] != weights:
            self._cached_observer = weights, self._compiled(lambda x: self._observed(x, weights))
        return self._cached_observer[1]

    def tensor(self, array: npt.ArrayLike | Tensor) -> Tensor:
        """Return float32 on TensorFlow's device; a tensor stays on its tape."""
        if tf.is_tensor(array):
            return tf.cast(array, tf.float32)
        return tf.convert_to_tensor(np.asarray(array, np.float32))

    def constant(self, tensor: Tensor) -> Tensor:
        """Return the tensor off any tape."""
        return tf.stop_gradient(tensor)

    def numpy(self, tensor: Tensor) -> npt.NDArray[Any]:
        """Return a NumPy array."""
        array: npt.NDArray[Any] = tensor.numpy()
        return array

    def held(self, array: npt.NDArray[Any]) -> Tensor:
        """Return an array on the device if it fits there; see the base class."""
        # TensorFlow would copy an array that lies in the host's memory already, and does not tell
        # how much memory a GPU has left: it is tried.
        if tf.config.list_logical_devices("GPU"):
            with suppress(tf.errors.ResourceExhaustedError):
                return tf.convert_to_tensor(array)
        return array

    def rows(self, array: npt.NDArray[Any]) -> Callable[[Tensor], Tensor]:
        """Return the function that fetches rows; see the base class."""
        held = self.held(array)
        if tf.is_tensor(held):
            return lambda indices: tf.gather(held, indices)
        return lambda indices: tf.convert_to_tensor(held[indices.numpy()])

    def _layer_names(self) -> list[str]:
        return list(_layers(self.model))

    def _weights(self) -> Iterator[npt.NDArray[Any]]:
        return (np.asarray(weight) for weight in self.model.weights)

    def _trace(self, x: npt.NDArray[np.float32]) -> tuple[list[Call], npt.NDArray[np.float32]]:
        calls: list[Call] = []

        def noting(name: str, layer: Any) -> Callable[[Tensor], Tensor]:
            def note(inputs: Tensor) -> Tensor:
                calls.append(_call(name, layer, inputs))
                return inputs

            return note

        # A model that was not built yet has no layers to list before its first call.
        outputs = self._outputs(self.tensor(x))
        with ExitStack() as stack:
            for name, layer in _layers(self.model).items():
                stack.enter_context(passing_through(layer, "input", noting(name, layer)))
            self._outputs(self.tensor(x))
        return calls, self.numpy(outputs)

    def _compiled(self, function: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
        signature = [tf.TensorSpec([None, *self.input_shape], tf.float32)]
        compiled: Callable[[Tensor], Any] = tf.function(
            function, input_signature=signature
        ).get_concrete_function()
        return compiled

    def _activation(self, x: Tensor, layer: Layer) -> Tensor:
        # What lies behind the layer is in the graph that is traced, but never run.
        reached: list[Tensor] = []

        def noted(output: Tensor) -> Tensor:
            reached.append(output)
            return output

        with passing_through(_layers(self.model)[layer.name], layer.side, noted):
            self._outputs(x)
        return _maps(reached[0], self._channels_first)

    def _influence(self, x: Tensor) -> Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            phi, outputs = self._neurons_and_outputs(x, tape)
            score, _ = self._score(outputs)
        return _flat(tape.gradient(score, phi) * phi)

    def _observed(self, x: Tensor, weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
            tape.watch(x)
            phi, outputs = self._neurons_and_outputs(x, tape)
            score, predicted = self._score(outputs)
        influence = _flat(tape.gradient(score, phi) * phi)
        w = tf.reshape(weights(influence), tf.shape(phi))
        return predicted, influence, tape.gradient(phi, x, output_gradients=w)

    def _neurons_and_outputs(self, x: Tensor, tape: Any) -> tuple[Tensor, Tensor]:
        """Run the model on a tape that watches the neurons; return these and outputs."""
        neurons: list[Tensor] = []

        def watched(phi: Tensor) -> Tensor:
            tape.watch(phi)
            neurons.append(phi)
            return phi

        layer = _layers(self.model)[self.layer.name]
        with passing_through(layer, self.layer.side, watched):
            outputs = self._outputs(x)
        return neurons[-1], outputs

    def _outputs(self, x: Tensor) -> Tensor:
        if self._standardisation is not None:
            x = (x - self._standardisation.mean) / self._standardisation.std
        return self.model(x, training=False)

    def _score(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return y_c and c."""
        predicted = tf.argmax(outputs, axis=1)
        top = tf.gather(outputs, predicted, batch_dims=1)
        if self._score_is_output:
            return top, predicted
        # Softmax in the form whose gradient does not cancel to 0 where the model is sure of itself.
        is_top = tf.one_hot(predicted, self.nb_classes, on_value=True, off_value=False)
        rest = tf.reduce_logsumexp(tf.where(is_top, outputs.dtype.min, outputs), axis=1)
        return tf.exp(tf.math.log_sigmoid(top - rest)), predicted


def _maps(x: Tensor, channels_first: bool) -> Tensor:
    """Return an activation as channels of places, (N, C, P)."""
    if len(x.shape) == 2:
        return x[:, None]
    places = int(np.prod(x.shape[2:] if channels_first else x.shape[1:-1]))
    if channels_first:
        return tf.reshape(x, [-1, x.shape[1], places])
    return tf.transpose(tf.reshape(x, [-1, places, x.shape[-1]]), [0, 2, 1])


def _flat(x: Tensor) -> Tensor:
    return tf.reshape(x, [tf.shape(x)[0], int(np.prod(x.shape[1:]))])


def _layers(model: Any, prefix: str = "") -> dict[str, Any]:
    """Return all layers inside a model under their dotted names."""
    layers: dict[str, Any] = {}
    for layer in model._flatten_layers(include_self=False, recursive=False):
        name = prefix + layer.name
        layers[name] = layer
        layers.update(_layers(layer, f"{name}."))
    return layers


def _call(name: str, layer: Any, inputs: Tensor) -> Call:
    shape = tuple(inputs.shape) if tf.is_tensor(inputs) else ()
    size = math.prod(shape[1:])
    # All of Keras's convolutions have these, separable and depthwise ones too; poolings do not.
    if hasattr(layer, "kernel_size") and hasattr(layer, "dilation_rate"):
        pixels = shape[1:-1] if layer.data_format == "channels_last" else shape[2:]
        of_one_pixel = set(layer.kernel_size) == {1} and math.prod(pixels) == 1
        return Call(name, "one pixel" if of_one_pixel else "convolution", size)
    dense = isinstance(layer, keras.layers.Dense) and len(shape) == 2
    return Call(name, "dense" if dense else "other", size)
