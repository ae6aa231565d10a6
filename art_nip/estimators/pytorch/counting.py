"""Counting what passes through a PyTorch model."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from art_nip.estimators.pass_counting import Passes


@contextmanager
def counted_calls(model: Any, passes: Passes) -> Iterator[bool]:
    """Count the calls of a module in this thread; yield whether the model is one."""
    if not isinstance(model, nn.Module):
        yield False
        return
    # ART calls the modules of a Sequential itself, and so never the Sequential.
    last = model
    while isinstance(last, nn.Sequential) and len(last):
        last = last[-1]
    thread = threading.get_ident()

    def hook(_: Any, __: Any, outputs: Any) -> None:
        if threading.get_ident() == thread:
            count(passes, outputs)

    handles = []
    try:
        handles.append(last.register_forward_hook(hook))
        yield True
    finally:
        for handle in handles:
            handle.remove()


def count(passes: Passes, outputs: Any) -> None:
    """Count what a pass gave, and its gradients when they come: on GPUs in another thread."""
    passes.forward += len(outputs)
    if outputs.requires_grad:

        def backward(gradient: Any) -> None:
            passes.backward += len(gradient)

        outputs.register_hook(backward)
