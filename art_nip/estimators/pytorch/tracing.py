"""One traced pass through a PyTorch model: its layers' calls, and the graph of gradients."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from art_nip.estimators.graph import Graph
from art_nip.estimators.layers import Call
from art_nip.estimators.pytorch.hooks import Arguments, is_tensor, parts_of_jit, watching
from art_nip.estimators.traced import Traced
from art_nip.estimators.values import (
    Value,
    input_tensor,
    problem_of_axes,
    problem_of_input,
    problem_of_output,
)
from art_nip.utils.pytorch import to_numpy

Kinds = tuple[str, bool, bool | None]


def trace(model: nn.Module, run: Callable[[Tensor], Any], x: Tensor) -> Traced:
    """Run images through a model and return what happened.

    :param model: its layers are watched.
    :param run: from images to what the model gives.
    :param x: images, shape (N, *input_shape).
    :raises ValueError: if the model gives no tensor.
    """
    tracer = _Tracer(len(x))
    with torch.enable_grad(), watching(model, tracer.before, tracer.behind):
        # Not the leaf itself: what goes into a layer has a place in the graph if it was computed.
        images = x.detach().requires_grad_().clone()
        scores = run(images)
    if not isinstance(scores, Tensor):
        raise ValueError(
            f"The model gives a {type(scores).__name__}; NIP needs one tensor of scores, shape (N, "
            "nb_classes). Wrap the model in one that returns it."
        )
    graph = Graph(tracer.sources(images, scores), tracer.place(images), tracer.place(scores))
    outputs = to_numpy(scores.float())
    names = tuple(name for name, _ in model.named_modules() if name)
    jit = parts_of_jit(model)
    seen = any(call.outputs.shape for call in tracer.calls)
    unseen = "" if seen or jit else _why_unseen(model)
    return Traced(tuple(tracer.calls), graph, outputs, names, jit, unseen)


def _why_unseen(model: nn.Module) -> str:
    """Return why no hook was called in a model, and what to do."""
    if any(
        kind.__module__.startswith("keras.")
        for module in model.modules()
        for kind in type(module).__mro__
    ):
        return (
            "The model is a Keras model on the backend of PyTorch, whose layers are no submodules "
            "of it, so that NIP cannot see them. Save it with model.save, load it in a process "
            "with KERAS_BACKEND=tensorflow, and wrap it in a TensorFlowV2Classifier."
        )
    if isinstance(model, torch.fx.GraphModule):
        return (
            "The model is a torch.fx.GraphModule, as torch.export makes it, whose graph calls no "
            "layers, so that NIP cannot see them: give the module that it was made from."
        )
    return (
        f"The model, a {type(model).__name__}, calls no module inside it, and NIP looks at the "
        "neurons of one: put its steps into modules such as nn.Conv2d and nn.Linear."
    )


class _Tracer:
    def __init__(self, n_images: int) -> None:
        self.calls: list[Call] = []
        self._n_images = n_images
        self._open: list[tuple[int, Any]] = []
        # Tensors that were computed by one node of autograd's graph are told apart by their number.
        self._places: dict[tuple[Any, int], int] = {}

    def before(
        self, name: str, module: nn.Module, arguments: Arguments, keywords: Mapping[str, Any]
    ) -> None:
        given = input_tensor(arguments, keywords, is_tensor)
        value = self._value(given, problem_of_input(arguments, keywords, is_tensor))
        kind, covers_map, channels_first = _kind(module, value)
        call = Call(name, kind, value, Value(), covers_map, channels_first)  # type: ignore[arg-type]
        self._open.append((len(self.calls), given))
        self.calls.append(call)

    def behind(self, name: str, module: nn.Module, output: Any) -> Any:
        place, given = self._open.pop()
        if isinstance(output, Tensor) and output is not given and output._is_view():
            # Autograd forgets where a view stood in the graph once it is changed in place.
            output = output.clone()
        call = self.calls[place]
        value = self._value(output, problem_of_output(output, is_tensor))
        # A layer may pad what goes in itself, as convolutions with "same" padding of timm do.
        covers_map = call.covers_map and set(value.shape[2:]) == {1}
        self.calls[place] = Call(
            name, call.kind, call.inputs, value, covers_map, call.channels_first
        )
        return output

    def _value(self, tensor: Any, problem: str) -> Value:
        if not isinstance(tensor, Tensor):
            return Value(problem=problem)
        shape = tuple(tensor.shape)
        problem = problem or problem_of_axes(shape, self._n_images)
        return Value(shape, None if tensor.grad_fn is None else self.place(tensor), problem)

    def place(self, tensor: Tensor) -> int:
        return self._place(tensor.grad_fn, tensor.output_nr)

    def _place(self, function: Any, number: int) -> int:
        return self._places.setdefault((function, number), len(self._places))

    def sources(self, images: Tensor, scores: Tensor) -> dict[int, list[int]]:
        """Return what each tensor was computed from."""
        self.place(images), self.place(scores)
        sources: dict[int, list[int]] = {}
        waiting = list(self._places)
        while waiting:
            function, number = waiting.pop()
            place = self._place(function, number)
            if place in sources:
                continue
            # Autograd's leaves, and scores without a gradient, come from nothing.
            given = () if function is None else function.next_functions
            steps = [step for step in given if step[0] is not None]
            sources[place] = [self._place(*step) for step in steps]
            waiting += steps
        return sources


def hangs_on_past(outputs: Tensor, tensor: Tensor, avoided: Tensor) -> bool:
    """Return whether outputs were computed from a tensor also past another one."""
    goal = (tensor.grad_fn, tensor.output_nr)
    seen = {(avoided.grad_fn, avoided.output_nr)}
    waiting: list[tuple[Any, int]] = [(outputs.grad_fn, outputs.output_nr)]
    while waiting:
        step = waiting.pop()
        if step == goal:
            return True
        if step[0] is not None and step not in seen:
            seen.add(step)
            waiting += step[0].next_functions
    return False


def _kind(module: nn.Module, value: Value) -> Kinds:
    """Return the kind of a layer, whether its kernel covers the map, and whether channels lead."""
    if isinstance(module, nn.modules.conv._ConvNd):
        places = value.shape[2:]
        one_pixel = set(module.kernel_size) == {1} and set(places) == {1}
        padded = module.padding not in ("valid", (0,) * len(places))
        covers_map = (
            tuple(module.kernel_size) == places
            and module.groups == 1
            and not padded
            and not module.transposed
        )
        return "one pixel" if one_pixel else "convolution", covers_map, True
    return "dense" if isinstance(module, nn.Linear) and value.is_vector else "other", False, None
