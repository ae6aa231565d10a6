"""NIP's view of a Keras model on TensorFlow.

Sub-models lose gradients or fail on many kinds of Keras models; replacing a layer's `call` while a
graph is traced works on all. The graph stays correct afterwards, also when weights change, and the
layer is as it was.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from art_nip.estimators.base import SMALLEST, EstimatorAdapter, Weights
from art_nip.estimators.keras import passing_through
from art_nip.estimators.layers import Call, Layer
from art_nip.estimators.pass_counting import note

Tensor = Any


class TensorFlowAdapter(EstimatorAdapter):
    """The neurons of an ART `TensorFlowV2Classifier`, or of a `KerasClassifier` in eager mode."""

    framework = f"tensorflow {tf.__version__}"

    _cached_influence: Callable[[Tensor], Tensor] | None = None
    _cached_looks: dict[tuple[tuple[Layer, ...], bool], Callable[[Tensor], list[Tensor]]] | None = (
        None
    )
    _cached_mark: Callable[[], list[Tensor]] | None = None
    _cached_lead_gradient: Callable[[Tensor, Tensor], Tensor] | None = None
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

    def activations(self, x: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
        """Return what layers give; see the base class."""
        return self._look(x, layers, to_the_end=False)

    def logits_and_activations(
        self, x: Tensor, layers: Sequence[Layer]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return logits and what layers give; see the base class."""
        logits, *maps = self._look(x, layers, to_the_end=True)
        return logits, maps

    def gradient(
        self,
        x: Tensor,
        layers: Sequence[Layer],
        objective: Callable[[Tensor, list[Tensor]], Tensor],
    ) -> Tensor:
        """Return the gradient of an objective; see the base class."""
        x = self.constant(x)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            logits, *maps = self._looked(x, layers, to_the_end=True)
            value = objective(logits, maps)
        return tape.gradient(value, x)

    def lead_gradient(self, x: Tensor, classes: npt.NDArray[np.int64]) -> Tensor:
        """Return the gradient of a class's lead; see the base class."""
        if self._cached_lead_gradient is None:
            self._cached_lead_gradient = self._compiled(
                self._lead_gradient, tf.TensorSpec([None], tf.int64)
            )
        note(self.model, forward=len(x), backward=len(x))
        return self._cached_lead_gradient(self.constant(x), self.integers(classes))

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

    def integers(self, array: npt.NDArray[np.int64]) -> Tensor:
        """Return int64 on TensorFlow's device."""
        return tf.convert_to_tensor(np.asarray(array, np.int64))

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

    def weights_mark(self) -> object:
        """Return one value of each weight, as TensorFlow counts no changes; see the base class."""
        if self._cached_mark is None:
            weights = [weight for weight in self.model.weights if math.prod(weight.shape)]
            self._cached_mark = tf.function(
                lambda: [tf.cast(tf.reshape(w.value, [-1])[0], tf.float32) for w in weights]
            ).get_concrete_function()
        return tuple(value.numpy().item() for value in self._cached_mark())

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

    def _compiled(self, function: Callable[..., Any], *beside: Any) -> Callable[..., Any]:
        """Return a function of images, and of what lies `beside` them, as a graph."""
        signature = [tf.TensorSpec([None, *self.input_shape], tf.float32), *beside]
        compiled: Callable[..., Any] = tf.function(
            function, input_signature=signature
        ).get_concrete_function()
        return compiled

    def _look(self, x: Tensor, layers: Sequence[Layer], to_the_end: bool) -> list[Tensor]:
        """Return what layers give; before these the logits, if it is `to_the_end`."""
        if self._cached_looks is None:
            self._cached_looks = {}
        wanted = tuple(layers), to_the_end
        if wanted not in self._cached_looks:
            self._cached_looks[wanted] = self._compiled(lambda x: self._looked(x, *wanted))
        note(self.model, forward=len(x))
        return self._cached_looks[wanted](self.constant(x))

    def _looked(self, x: Tensor, layers: Sequence[Layer], to_the_end: bool) -> list[Tensor]:
        # What nothing returned hangs on is in the graph that is traced, but never run.
        reached: dict[int, Tensor] = {}

        def noting(place: int) -> Callable[[Tensor], Tensor]:
            def note(output: Tensor) -> Tensor:
                reached.setdefault(place, output)
                return output

            return note

        found = _layers(self.model)
        with ExitStack() as stack:
            for place, layer in enumerate(layers):
                stack.enter_context(passing_through(found[layer.name], layer.side, noting(place)))
            outputs = self._outputs(x)
        maps = [_maps(reached[place], self.channels_first) for place in range(len(layers))]
        return [self._logits(outputs), *maps] if to_the_end else maps

    def _lead_gradient(self, x: Tensor, classes: Tensor) -> Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            logits = self._logits(self._outputs(x))
            is_class = tf.one_hot(classes, self.nb_classes, on_value=True, off_value=False)
            others = tf.reduce_max(tf.where(is_class, logits.dtype.min, logits), axis=1)
            lead = tf.gather(logits, classes, batch_dims=1) - others
        return tape.gradient(lead, x)

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

    def _logits(self, outputs: Tensor) -> Tensor:
        if self._gives_probabilities:
            return tf.math.log(tf.maximum(outputs, SMALLEST))
        return outputs

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
    """Return what a layer gives as (N, C, *places)."""
    if len(x.shape) == 2:
        return x[:, None]
    if channels_first:
        return x
    last = len(x.shape) - 1
    return tf.transpose(x, [0, last, *range(1, last)])


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
