"""One traced pass through a Keras model: its layers' calls, and the graph of gradients."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from art_nip.estimators.graph import Graph
from art_nip.estimators.keras import Around, calling_through
from art_nip.estimators.layers import Call
from art_nip.estimators.traced import Traced
from art_nip.estimators.values import (
    Arguments,
    Keywords,
    Value,
    input_tensor,
    problem_of_axes,
    problem_of_input,
    problem_of_output,
)

Tensor = Any

NO_GRADIENT = frozenset({"StopGradient", "ZerosLike", "OnesLike", "PyFunc", "PyFuncStateless"})
"""Operations on floating tensors whose result hangs on no value of theirs, or says so."""


def named_layers(model: Any) -> list[tuple[str, Any]]:
    """Return all layers inside a model with their dotted names, which several may share.

    A layer that stands in several places goes by its name in the first one.
    """
    layers: list[tuple[str, Any]] = []
    seen: set[int] = set()

    def add(inside: Any, prefix: str) -> None:
        for layer in inside._flatten_layers(include_self=False, recursive=False):
            if id(layer) not in seen:
                seen.add(id(layer))
                name = prefix + layer.name
                layers.append((name, layer))
                add(layer, f"{name}.")

    add(model, "")
    return layers


def trace(
    model: Any, run: Callable[[Tensor], Any], x: npt.NDArray[np.float32], scores: Any
) -> Traced:
    """Return what happens when images run through a model.

    :param model: its layers are watched.
    :param run: from a tensor of images to what the model gives.
    :param x: images, shape (N, *input_shape).
    :param scores: what the model gives for them.
    :raises ValueError: if the model gives no tensor.
    """
    if not tf.is_tensor(scores):
        raise ValueError(
            f"The model gives a {type(scores).__name__}; NIP needs one tensor of scores, shape (N, "
            "nb_classes). Wrap the model in one that returns it."
        )
    tracer = _Tracer(len(x))

    def traced(images: Tensor) -> Tensor:
        tracer.inside = tf.identity(images)
        with ExitStack() as stack:
            for name, layer in named_layers(model):
                stack.enter_context(calling_through(layer, tracer.noting(name, layer)))
            tracer.scores = run(tracer.inside)
        return tracer.scores

    # In a graph, tensors know what they were computed from.
    function = tf.function(traced, input_signature=[tf.TensorSpec(x.shape, tf.float32)])
    try:
        concrete = function.get_concrete_function()
    except tf.errors.OperatorNotAllowedInGraphError as error:
        raise ValueError(
            "The model cannot be compiled into a graph, as NIP needs it to be: it decides in "
            "Python by the values of tensors. Use tf.where or tf.cond in its call instead."
        ) from error
    except Exception as error:
        # The model has run eagerly just now; what it raises in a graph may be anything.
        raise ValueError(
            "The model cannot be compiled into a graph, as NIP needs it to be: it does in Python "
            f"what TensorFlow does not see ({type(error).__name__}: {error})"
        ) from error
    graph = tracer.graph()
    del concrete  # the tensors live as long as it does
    names = tuple(name for name, _ in named_layers(model))
    outputs = np.asarray(tf.cast(scores, tf.float32))
    unseen = (
        ""
        if tracer.calls
        else f"The model, a {type(model).__name__}, calls no layer where NIP sees it, and "
        "NIP looks at the neurons of one: put its steps into layers such as keras.layers.Conv2D "
        "and Dense, which its call uses outside of any tf.function of its own."
    )
    return Traced(tuple(tracer.calls), graph, outputs, names, unseen=unseen)


class _Tracer:
    inside: Tensor
    scores: Tensor

    def __init__(self, n_images: int) -> None:
        self.calls: list[Call] = []
        self._n_images = n_images
        self._places: dict[tuple[str, int], int] = {}
        self._tensors: list[Tensor] = []

    def noting(self, name: str, layer: Any) -> Around:
        def around(call: Callable[..., Any], arguments: Arguments, keywords: Keywords) -> Any:
            given = input_tensor(arguments, keywords, tf.is_tensor)
            inputs = self._value(given, problem_of_input(arguments, keywords, tf.is_tensor))
            place = len(self.calls)
            kind, covers_map, channels_first = _kind(layer, inputs)
            noted: Mapping[str, Any] = {
                "name": name,
                "kind": kind,
                "inputs": inputs,
                "covers_map": covers_map,
                "channels_first": channels_first,
            }
            self.calls.append(Call(outputs=Value(), **noted))
            output = call(*arguments, **keywords)
            outputs = self._value(output, problem_of_output(output, tf.is_tensor))
            self.calls[place] = Call(outputs=outputs, **noted)
            return output

        return around

    def _value(self, tensor: Any, problem: str) -> Value:
        if not tf.is_tensor(tensor):
            return Value(problem=problem)
        if tensor.shape.rank is None:
            return Value(problem=problem or "handles a tensor of unknown shape")
        shape = tuple(-1 if size is None else size for size in tensor.shape)
        if getattr(tensor, "graph", None) is not self.inside.graph:
            inner = "is called within a tf.function of its own, into which NIP cannot see"
            return Value(shape, problem=problem or inner)
        problem = problem or problem_of_axes(shape, self._n_images)
        return Value(shape, self._place(tensor), problem)

    def _place(self, tensor: Tensor) -> int:
        key = (tensor.op.name, tensor.value_index)
        if key not in self._places:
            self._places[key] = len(self._tensors)
            self._tensors.append(tensor)
        return self._places[key]

    def graph(self) -> Graph:
        images, scores = self._place(self.inside), self._place(self.scores)
        sources: list[list[int]] = []
        # The list grows meanwhile.
        for tensor in self._tensors:
            sources.append([self._place(source) for source in _sources(tensor)])
        return Graph(dict(enumerate(sources)), images, scores)


def _sources(tensor: Tensor) -> Sequence[Tensor]:
    """Return the tensors that gradients flow to from one."""
    operation = tensor.op
    if operation.type in NO_GRADIENT:
        return ()
    if operation.type == "IdentityN":
        # Functions with a gradient of their own end in one that holds their arguments too.
        return [operation.inputs[tensor.value_index]]
    return [source for source in operation.inputs if _carries_gradients(source)]


def _carries_gradients(tensor: Tensor) -> bool:
    # Loops hand on lists of tensors as variants. Whole numbers, as shapes are, carry none.
    return bool(tensor.dtype.is_floating or tensor.dtype.is_complex or tensor.dtype == tf.variant)


def _kind(layer: Any, inputs: Value) -> tuple[Any, bool, bool | None]:
    """Return the kind of a layer, whether its kernel covers the map, and whether channels lead."""
    order = getattr(layer, "data_format", None)
    channels_first = None if order is None else order == "channels_first"
    # All of Keras's convolutions have these, separable and depthwise ones too; poolings do not.
    if hasattr(layer, "kernel_size") and hasattr(layer, "dilation_rate"):
        places = inputs.shape[2:] if channels_first else inputs.shape[1:-1]
        one_pixel = set(layer.kernel_size) == {1} and set(places) == {1}
        covers_map = (
            type(layer) in (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
            and tuple(layer.kernel_size) == places
            and layer.groups == 1
            and layer.padding == "valid"
        )
        return "one pixel" if one_pixel else "convolution", covers_map, channels_first
    is_dense = isinstance(layer, keras.layers.Dense) and inputs.is_vector
    return "dense" if is_dense else "other", False, channels_first
