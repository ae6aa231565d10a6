"""Modes of PyTorch that NIP must not work in, left for a while and then restored."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from art_nip.utils.pytorch import modules_of

NOTHING = nullcontext()
"""The context where nothing has to change."""


def plain(device: torch.device) -> AbstractContextManager[Any]:
    """Leave inference mode, in which nothing has a gradient, and autocast.

    Autocast is the caller's way to make a model fast; δ in its precision finds other candidates. A
    model that has autocast inside keeps it.
    """
    of_device = () if device.type in ("cpu", "meta") else (device.type,)
    kinds = [kind for kind in ("cpu", *of_device) if _autocast_is_on(kind)]
    if kinds or torch.is_inference_mode_enabled():
        return _left(kinds)
    return NOTHING


@contextmanager
def _left(autocasting: list[str]) -> Iterator[None]:
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        for kind in autocasting:
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield


def _autocast_is_on(device_type: str) -> bool:
    try:
        return torch.is_autocast_enabled(device_type)
    except TypeError:  # before PyTorch 2.4
        on_cpu = device_type == "cpu"
        return torch.is_autocast_cpu_enabled() if on_cpu else torch.is_autocast_enabled()


@dataclass
class _Shared:
    """What some threads have changed together, and the last of them restores."""

    users: int = 0
    restore: list[Callable[[], None]] = field(default_factory=list)


_lock = threading.RLock()
_evaluated: WeakKeyDictionary[nn.Module, _Shared] = WeakKeyDictionary()
_eager, _without_cudnn = _Shared(), _Shared()


def as_written(model: nn.Module) -> AbstractContextManager[None]:
    """Run a model in evaluation mode, what was compiled in it as it was written, and recurrent
    layers so that they have a gradient.

    :param model: any module; its modes are restored.
    """
    return NOTHING if _is_as_written(model) else _made_as_written(model)


def _is_as_written(model: nn.Module) -> bool:
    """Return whether there is nothing to change, nor anything that others will restore."""
    with _lock:
        shared = _evaluated.get(model)
        if shared is not None and shared.users:
            return False
        return not any(
            module.training or _is_compiled(module) or _is_of_cudnn(module)
            for module in modules_of(model)
        )


@contextmanager
def _made_as_written(model: nn.Module) -> Iterator[None]:
    modules = list(modules_of(model))
    with _uncompiled(modules), _differentiable(modules), _evaluating(model, modules):
        yield


@contextmanager
def _evaluating(model: nn.Module, modules: list[nn.Module]) -> Iterator[None]:
    """Put the modules that are in training mode into evaluation mode, and back.

    Where several threads do so at once, the last one to leave puts them back. A mode is of the
    model and not of a thread: what a thread does with a model in training mode outside of NIP sees
    evaluation mode meanwhile.
    """
    with _lock:
        shared = _evaluated.setdefault(model, _Shared())
    with _used(shared, lambda: _stop_training(modules)):
        yield


def _stop_training(modules: list[nn.Module]) -> list[Callable[[], None]]:
    training = [module for module in modules if module.training]
    # The attribute and not `.eval()`: a model may override that and do more.
    _set_training(training, False)
    return [lambda: _set_training(training, True)] if training else []


def _set_training(modules: list[nn.Module], training: bool) -> None:
    for module in modules:
        module.training = training


def _uncompiled(modules: list[nn.Module]) -> AbstractContextManager[None]:
    """Run what `torch.compile` has compiled in a model as it was written.

    Compiled code does not call the layers, so no hook sees them. The setting is one of the process:
    other threads run uncompiled meanwhile, and get the same results.
    """
    set_stance = getattr(torch.compiler, "set_stance", None)
    if set_stance is None or not any(map(_is_compiled, modules)):
        return nullcontext()

    def force_eager() -> list[Callable[[], None]]:
        if _eager.users > 1:
            return []
        stance: Any = set_stance("force_eager")
        return [lambda: stance.__exit__(None, None, None)]

    return _used(_eager, force_eager)


def _differentiable(modules: list[nn.Module]) -> AbstractContextManager[None]:
    """Run recurrent layers by PyTorch's own code: cuDNN's has no gradient in evaluation mode.

    The setting is one of the process: other threads run without cuDNN meanwhile.
    """
    if not any(map(_is_of_cudnn, modules)):
        return nullcontext()

    def leave() -> list[Callable[[], None]]:
        if _without_cudnn.users > 1 or not torch.backends.cudnn.enabled:
            return []
        torch.backends.cudnn.enabled = False
        return [lambda: setattr(torch.backends.cudnn, "enabled", True)]

    return _used(_without_cudnn, leave)


def _is_of_cudnn(module: nn.Module) -> bool:
    return isinstance(module, nn.RNNBase) and any(weight.is_cuda for weight in module.parameters())


def _is_compiled(module: nn.Module) -> bool:
    return module._compiled_call_impl is not None or "_orig_mod" in module._modules


@contextmanager
def _used(shared: _Shared, change: Callable[[], list[Callable[[], None]]]) -> Iterator[None]:
    entered = False
    try:
        with _lock:
            shared.users += 1
            entered = True
            shared.restore += change()
        yield
    finally:
        if entered:
            with _lock:
                shared.users -= 1
                while not shared.users and shared.restore:
                    shared.restore.pop()()
