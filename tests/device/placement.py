"""Finds what TensorFlow would compute on the host although there is a GPU.

It follows tensors from the images on, through eager operations and the graphs of functions.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
from tensorflow.python.eager import context
from tensorflow.python.framework import op_callbacks, op_def_registry
from tensorflow.python.framework.function_def_to_graph import function_def_to_graph

from tests.device.gpu_kernels import known

OF_SHAPES = {"Shape", "ShapeN", "Size", "Rank"}
"""Operations whose results hang on shapes alone, which the host knows."""

CALLS = {"PartitionedCall", "StatefulPartitionedCall"}


class Followed:
    """What becomes of images.

    :param images: a tensor.
    """

    def __init__(self, images: Any) -> None:
        self.on_host: dict[str, None] = {}
        self._kernels = known()
        # Tensors are kept lest another gets the id of one that is gone.
        self._reached = {id(images): images}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follow the images through the operations that run within the context."""
        op_callbacks.add_op_callback(self._ran)
        try:
            yield
        finally:
            op_callbacks.remove_op_callback(self._ran)

    def has_reached(self, tensor: Any) -> bool:
        """Return whether a tensor is made of the images."""
        return id(tensor) in self._reached

    def _ran(
        self, kind: Any, inputs: Any, attributes: Any, outputs: Any, op_name: Any = None,
        graph: Any = None,
    ) -> None:  # fmt: skip
        if graph is None:
            named = dict(zip(attributes[::2], attributes[1::2], strict=True))
            self._follow(tf.compat.as_str(kind), inputs, named, outputs)

    def _follow(self, kind: str, inputs: Any, attributes: Any, outputs: Sequence[Any]) -> None:
        of_images = [id(value) in self._reached for value in inputs]
        if not any(of_images) or kind in OF_SHAPES:
            return
        function = attributes["f"].name if kind in CALLS else kind
        if context.context().has_function(function):
            self._follow_into(function, inputs, outputs)
            return
        self._reached.update((id(value), value) for value in outputs)
        for problem in self._problems(kind, of_images, attributes):
            self.on_host[problem] = None

    def _follow_into(self, name: str, inputs: Any, outputs: Sequence[Any]) -> None:
        graph = function_def_to_graph(context.context().get_function_def(name))
        self._pass_on(inputs, graph.inputs)
        for operation in graph.get_operations():
            attributes = {of: operation.get_attr(of) for of in operation.node_def.attr}
            self._follow(operation.type, operation.inputs, attributes, operation.outputs)
        self._pass_on(graph.outputs, outputs)

    def _pass_on(self, values: Any, others: Any) -> None:
        for value, other in zip(values, others, strict=True):
            if id(value) in self._reached:
                self._reached[id(other)] = other

    def _problems(self, kind: str, of_images: list[bool], attributes: Any) -> Iterator[str]:
        definition = op_def_registry.get(kind)
        names = [of.name for of in definition.attr if of.type == "type"]
        dtypes = {name: tf.as_dtype(attributes[name]).name for name in names}
        told = " ".join([kind, *(f"{name}={dtype}" for name, dtype in dtypes.items())])
        if kind not in self._kernels:
            yield f"{told}: not in the list, see {known.__module__}"
            return
        fitting = [
            kernel
            for kernel in self._kernels[kind]
            if all(dtypes[name] in dtypes_of for name, dtypes_of in kernel.dtypes.items())
        ]
        if not fitting:
            yield f"{told}: no kernel"
            return
        arguments = [
            argument.name
            for argument in definition.input_arg
            for _ in range(attributes[argument.number_attr] if argument.number_attr else 1)
        ]
        data = {name for name, reached in zip(arguments, of_images, strict=True) if reached}
        results = {argument.name for argument in definition.output_arg}
        host = set(fitting[0].host) & (data | results)
        if host:
            yield f"{told}: {', '.join(sorted(host))} in the memory of the host"
