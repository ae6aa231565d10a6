"""NIP's view of a Keras model on TensorFlow.

A layer's `call` is replaced while a graph is traced. The graph stays correct afterwards, also when
weights change, and the layer is as it was.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from art_nip.estimators.base import EstimatorAdapter, Weights
from art_nip.estimators.keras import calling_through
from art_nip.estimators.layers import Layer
from art_nip.estimators.pass_counting import note
from art_nip.estimators.tensorflow import memory, scores
from art_nip.estimators.tensorflow.tracing import named_layers, trace
from art_nip.estimators.traced import Traced
from art_nip.estimators.values import Arguments, Keywords, with_input
from art_nip.utils.kept import Kept
from art_nip.utils.tensorflow import check_eager

if TYPE_CHECKING:
    from typing_extensions import Self

Tensor = Any


class TensorFlowAdapter(EstimatorAdapter):
    """The neurons of an ART `TensorFlowV2Classifier`, or of a `KerasClassifier` in eager mode."""

    framework = f"tensorflow {tf.__version__}"

    _cached_influence: Callable[[Tensor], Tensor] | None = None
    _cached_looks: dict[tuple[tuple[Layer, ...], bool], Callable[[Tensor], list[Tensor]]] | None = (
        None
    )
    _cached_mark: Callable[[], Tensor] | None = None
    _cached_lead_gradient: Callable[[Tensor, Tensor], Tensor] | None = None
    _cached_observer: tuple[Weights, Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]] | None = (
        None
    )

    def __init__(self, estimator: Any, layer: str | None, confidence: str) -> None:
        self._moments_kept: Kept[tuple[Tensor, Tensor]] = Kept()
        super().__init__(estimator, layer, confidence)

    @staticmethod
    def unwrapped(model: Any) -> Any:
        """Return the Keras model; other callables have no layers to look at."""
        if not isinstance(model, keras.Model):
            raise TypeError(
                f"The estimator's model is a {type(model).__name__}, not a keras.Model: NIP cannot "
                "see its layers. Wrap it in a subclass of keras.Model."
            )
        if keras.backend.backend() != "tensorflow":
            raise TypeError(
                f"Keras runs on the backend of {keras.backend.backend()!r} in this process, and "
                "ART's classifiers of Keras models need TensorFlow's: set "
                "KERAS_BACKEND=tensorflow before Keras is imported."
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

    def _in_half_precision(self, precision: str) -> "Self":
        raise ValueError(
            f"look={precision!r} is for PyTorch models, whose precision can change between two "
            "passes. Keras fixes that of each layer when it is made: build the model under "
            "keras.mixed_precision, or leave look out."
        )

    def influence(self, x: Tensor) -> Tensor:
        """Return neuron influence; see the base class."""
        if self._cached_influence is None:
            self._cached_influence = self.from_influence(lambda influence: influence)
        return self._cached_influence(x)

    def from_influence(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Return the function from images to one of their influence, as one graph."""
        return self._counted(lambda x: function(self._influence(x)), backward=True)

    def outputs(self, x: Tensor) -> Tensor:
        """Return what the model gives; see the base class."""
        return self.constant(self._outputs(x))

    def activations(self, x: Tensor, layers: Sequence[Layer]) -> list[Tensor]:
        """Return what layers give; see the base class."""
        return self._look(x, layers, to_the_end=False)

    def from_activations(
        self, layers: Sequence[Layer], function: Callable[..., Tensor]
    ) -> Callable[[Tensor], Tensor]:
        """Return the function from images to one of what layers give, as one graph."""
        return self._counted(
            lambda x: function(*self._looked(x, layers, to_the_end=False)), backward=False
        )

    def logits_and_activations(
        self, x: Tensor, layers: Sequence[Layer]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return logits and what layers give; see the base class."""
        logits, *maps = self._look(x, layers, to_the_end=True)
        return logits, maps

    def connected(self, x: Tensor, layers: Sequence[Layer]) -> tuple[Tensor, list[Tensor]]:
        """Return logits and what layers give, on tapes that watch x; see the base class."""
        look = self._graph_of(layers, to_the_end=True)
        if tf.executing_eagerly():
            note(self.model, forward=len(x))
        logits, *maps = look(x)
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
        with _off_tape():
            return self._cached_lead_gradient(self.constant(x), self.integers(classes))

    def observer(self, weights: Weights) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
        """Return the function that fitting calls; see the base class."""
        self.check_gradient()
        cached = self._cached_observer
        if cached is None or cached[0] != weights:
            cached = weights, self._compiled(lambda x: self._observe(x, weights))
            self._cached_observer = cached
        return cached[1]

    def tensor(self, array: npt.ArrayLike | Tensor) -> Tensor:
        """Return float32 on TensorFlow's device; a tensor stays on its tape."""
        if tf.is_tensor(array):
            check_eager("NIP")
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

    def as_input(self, tensor: Tensor) -> Tensor:
        """Return images as they are: Keras casts them."""
        return tensor

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function as a graph, which is traced at the first call; see the base class."""
        graph: Callable[..., Any] | None = None

        def run(*tensors: Tensor) -> Any:
            nonlocal graph
            if graph is None:
                signature = [tf.TensorSpec([None, *x.shape[1:]], x.dtype) for x in tensors]
                # Not the function itself: of a partial one, TensorFlow would take the rest too.
                graph = tf.function(
                    lambda *given: function(*given), input_signature=signature, autograph=False
                ).get_concrete_function()
            return graph(*tensors)

        return run

    def held(self, array: npt.NDArray[Any]) -> Tensor:
        """Return an array on the device if it fits there; see the base class."""
        return memory.held(array)

    def rows(self, array: npt.NDArray[Any]) -> Callable[[Tensor], Tensor]:
        """Return the function that fetches rows; see the base class."""
        return memory.rows(array, self.held)

    def undisturbed(self) -> AbstractContextManager[None]:
        """Return a context that changes nothing: TensorFlow has no such modes."""
        return nullcontext()

    def _weights(self) -> Iterator[npt.NDArray[Any]]:
        return (np.asarray(weight) for weight in self.model.weights)

    def weights_mark(self) -> object:
        """Return one value of each weight, as TensorFlow counts no changes; see the base class."""
        if self._cached_mark is None:
            weights = [weight.value for weight in self.model.weights if math.prod(weight.shape)]
            self._cached_mark = tf.function(
                lambda: (
                    tf.stack([tf.cast(_first(weight), tf.float32) for weight in weights])
                    if weights
                    else tf.zeros([0])
                )
            ).get_concrete_function()
        with _off_tape():
            return self._cached_mark().numpy().tobytes()

    def _trace(self, x: npt.NDArray[np.float32]) -> Traced:
        # A model that was not built yet has no layers to list before its first call.
        scores = self._run(self.tensor(x))
        return trace(self.model, self._run, x, scores)

    def _compiled(self, function: Callable[..., Any], *beside: Any) -> Callable[..., Any]:
        """Return a function of images, and of what lies `beside` them, as a graph."""
        signature = [tf.TensorSpec([None, *self.input_shape], tf.float32), *beside]
        compiled: Callable[..., Any] = tf.function(
            function, input_signature=signature
        ).get_concrete_function()
        return compiled

    def _counted(
        self, function: Callable[[Tensor], Any], backward: bool
    ) -> Callable[[Tensor], Any]:
        """Return a function of images as a graph, of which each call counts as a pass.

        :param function: runs the model once.
        :param backward: whether it goes back through the model too.
        """
        graph: Callable[[Tensor], Any] | None = None

        def run(x: Tensor) -> Any:
            nonlocal graph
            if graph is None:
                graph = self._compiled(function)
            note(self.model, forward=len(x), backward=len(x) if backward else 0)
            with _off_tape():
                return graph(x)

        return run

    def _look(self, x: Tensor, layers: Sequence[Layer], to_the_end: bool) -> list[Tensor]:
        """Return what layers give; before these the logits, if it is `to_the_end`."""
        look = self._graph_of(layers, to_the_end)
        note(self.model, forward=len(x))
        with _off_tape():
            return look(x)

    def _graph_of(
        self, layers: Sequence[Layer], to_the_end: bool
    ) -> Callable[[Tensor], list[Tensor]]:
        if self._cached_looks is None:
            self._cached_looks = {}
        wanted = tuple(layers), to_the_end
        if wanted not in self._cached_looks:
            self._cached_looks[wanted] = self._compiled(lambda x: self._looked(x, *wanted))
        return self._cached_looks[wanted]

    def _looked(self, x: Tensor, layers: Sequence[Layer], to_the_end: bool) -> list[Tensor]:
        # What nothing returned hangs on is in the graph that is traced, but never run.
        reached: dict[int, Tensor] = {}

        def noting(place: int) -> Callable[[Tensor], Tensor]:
            def note(output: Tensor) -> Tensor:
                reached.setdefault(place, output)
                return output

            return note

        with ExitStack() as stack:
            for place, layer in enumerate(layers):
                stack.enter_context(self._passing_through(layer, noting(place)))
            outputs = self._outputs(x)
        maps = [
            _maps(reached[place], self._traced.channels_first_at(layer, self.channels_first))
            for place, layer in enumerate(layers)
        ]
        return [self._logits(outputs), *maps] if to_the_end else maps

    def _lead_gradient(self, x: Tensor, classes: Tensor) -> Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            logits = self._logits(self._outputs(x))
            lead = scores.lead(logits, classes, self.nb_classes)
        return tape.gradient(lead, x)

    def _influence(self, x: Tensor) -> Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            phi, outputs = self._neurons_and_outputs(x, tape)
        return self._influence_of(outputs, phi, tape)

    def _observe(self, x: Tensor, weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
        with tf.GradientTape(watch_accessed_variables=False, persistent=True) as tape:
            tape.watch(x)
            phi, outputs = self._neurons_and_outputs(x, tape)
        influence = self._influence_of(outputs, phi, tape)
        w = tf.cast(tf.reshape(weights(influence), tf.shape(phi)), phi.dtype)
        # TensorFlow has no gradient of rounding, where PyTorch has zero.
        zero = tf.UnconnectedGradients.ZERO
        perturbation = tape.gradient(phi, x, output_gradients=w, unconnected_gradients=zero)
        return outputs, influence, perturbation

    def _neurons_and_outputs(self, x: Tensor, tape: Any) -> tuple[Tensor, Tensor]:
        """Run the model on a tape that watches the neurons; return these and outputs."""
        neurons: list[Tensor] = []

        def watched(phi: Tensor) -> Tensor:
            tape.watch(phi)
            neurons.append(phi)
            return phi

        with self._passing_through(self.layer, watched):
            outputs = self._outputs(x)
        if len(neurons) != 1:
            raise ValueError(
                f"layer {str(self.layer)!r} was called {len(neurons)} times in one pass, and NIP "
                "looks at layers that are called once."
            )
        return neurons[0], outputs

    @contextmanager
    def _passing_through(
        self, layer: Layer, function: Callable[[Tensor], Tensor]
    ) -> Iterator[None]:
        """Send what passes a layer through a function, then restore it."""

        def around(call: Callable[..., Any], arguments: Arguments, keywords: Keywords) -> Any:
            if layer.side == "output":
                return function(call(*arguments, **keywords))
            arguments, keywords = with_input(arguments, keywords, tf.is_tensor, function)
            return call(*arguments, **keywords)

        with calling_through(dict(named_layers(self.model))[layer.name], around):
            yield

    def _run(self, x: Tensor) -> Any:
        """Return what the model gives for images."""
        given = self._standardisation
        if given is not None:

            def moments() -> tuple[Tensor, Tensor]:
                # Outside of a graph that may be being traced.
                with tf.init_scope():
                    return self.tensor(given.mean), self.tensor(given.std)

            mean, std = self._moments_kept.get("mean and std", moments)
            x = (x - mean) / std
        return self.model(x, training=False)

    def _outputs(self, x: Tensor) -> Tensor:
        """Return scores in float32, whatever the precision of the model."""
        return tf.cast(self._run(x), tf.float32)

    def _logits(self, outputs: Tensor) -> Tensor:
        return scores.logits_of(outputs) if self._gives_probabilities else outputs

    def _influence_of(self, outputs: Tensor, phi: Tensor, tape: Any) -> Tensor:
        """Return influence in float32, shape (N, n), from a tape that watched the neurons."""
        slopes, factor = scores.score_gradient(
            outputs, self.nb_classes, self._gives_probabilities, self._score_is_output
        )
        gradient = tape.gradient(outputs, phi, slopes)
        product = tf.cast(gradient, tf.float32) * tf.cast(phi, tf.float32)
        return _flat(product) * factor[:, None]


def _off_tape() -> AbstractContextManager[None]:
    """Return a context that no tape of the caller's records: tapes watch the model's weights."""
    return tf.init_scope()  # type: ignore[no-any-return]


def _first(variable: Any) -> Tensor:
    """Return the first value of a variable without reading the others."""
    if not variable.shape.rank or not variable.dtype.is_floating:
        return tf.reshape(variable, [-1])[0]
    return tf.gather_nd(variable, [0] * variable.shape.rank)


def _maps(x: Tensor, channels_first: bool) -> Tensor:
    """Return what a layer gives as (N, C, *places), in float32."""
    x = tf.cast(x, tf.float32)
    if len(x.shape) == 2:
        return x[:, None]
    if channels_first:
        return x
    last = len(x.shape) - 1
    return tf.transpose(x, [0, last, *range(1, last)])


def _flat(x: Tensor) -> Tensor:
    return tf.reshape(x, [tf.shape(x)[0], int(np.prod(x.shape[1:]))])
