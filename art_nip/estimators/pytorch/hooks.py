"""Seeing what goes through a module, in one thread alone, and leaving no hook behind."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit._trace import TopLevelTracedModule

from art_nip.estimators.layers import Layer, is_inside
from art_nip.estimators.values import with_input

Arguments = tuple[Any, ...]


@contextmanager
def passing_through(
    model: nn.Module, layer: Layer, function: Callable[[Tensor], Tensor]
) -> Iterator[None]:
    """Send what passes a layer through a function, for calls of this thread; then restore it.

    Other threads that use the model meanwhile are not changed: the hooks do nothing there.

    :param model: the module that the layer's name starts from.
    :param layer: it handles a single tensor.
    :param function: from that tensor to what takes its place.
    """
    module = model.get_submodule(layer.name)
    thread = threading.get_ident()

    # A thread that calls the module while the hook comes or goes may give it no keywords.
    def before(_: Any, arguments: Arguments, keywords: Mapping[str, Any] | None = None) -> Any:
        if keywords is None or threading.get_ident() != thread:
            return None
        return with_input(arguments, keywords, is_tensor, function)

    def behind(_: Any, __: Any, output: Tensor) -> Any:
        return function(output) if threading.get_ident() == thread else None

    handles = []
    try:
        if layer.side == "input":
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
        else:
            handles.append(module.register_forward_hook(behind))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def watching(
    model: nn.Module,
    before: Callable[[str, nn.Module, Arguments, Mapping[str, Any]], None],
    behind: Callable[[str, nn.Module, Any], Any],
) -> Iterator[None]:
    """Tell of every call of a layer inside a model, for calls of this thread.

    :param model: its named modules are watched, itself not.
    :param before: is told the name, the module and the arguments of a call.
    :param behind: is told the name, the module and what it gave, and returns what takes its place.
    """
    thread = threading.get_ident()

    def told_before(name: str) -> Callable[..., None]:
        def hook(
            module: nn.Module, arguments: Arguments, keywords: Mapping[str, Any] | None = None
        ) -> None:
            if keywords is not None and threading.get_ident() == thread:
                before(name, module, arguments, keywords)

        return hook

    def told_behind(name: str) -> Callable[..., Any]:
        def hook(module: nn.Module, _: Any, output: Any) -> Any:
            return behind(name, module, output) if threading.get_ident() == thread else None

        return hook

    compiled = parts_of_jit(model)
    handles = []
    try:
        for name, module in model.named_modules():
            # No hook sees what is inside; of what was scripted, and not traced, not even that.
            scripted = name in compiled and not isinstance(module, TopLevelTracedModule)
            if name and not scripted and not is_inside(name, compiled):
                handles.append(
                    module.register_forward_pre_hook(told_before(name), with_kwargs=True)
                )
                handles.append(module.register_forward_hook(told_behind(name)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def parts_of_jit(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the largest parts of a model that torch.jit compiled."""
    parts: list[str] = []
    for name, module in model.named_modules():
        if isinstance(module, torch.jit.ScriptModule) and not is_inside(name, parts):
            parts.append(name)
    return tuple(parts)


def is_tensor(value: Any) -> bool:
    """Return whether a value is a tensor."""
    return isinstance(value, Tensor)
