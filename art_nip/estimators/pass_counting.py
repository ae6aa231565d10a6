"""How many images pass through a model, forwards and backwards: a cost that no machine changes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from art_nip.estimators.keras import passing_through


@dataclass(eq=False)
class Passes:
    """Images that went through a model. A pass through a part of it counts as one."""

    forward: int = 0
    backward: int = 0


_counting: list[tuple[Any, Passes]] = []


@contextmanager
def counting(estimator: Any) -> Iterator[Passes | None]:
    """Count what passes through an ART classifier's model; None where the model is no module.

    :param estimator: an ART classifier; all that share its model are counted with it.
    """
    model = getattr(estimator, "model", None)
    torch, keras = sys.modules.get("torch"), sys.modules.get("keras")
    passes = Passes()
    if torch is not None and isinstance(model, torch.nn.Module):
        calls = _calls_of_module(model, passes)
    elif keras is not None and isinstance(model, keras.Model):
        calls = _calls_of_keras(model, passes)
    else:
        yield None
        return
    counted = (model, passes)
    _counting.append(counted)
    try:
        with calls:
            yield passes
    finally:
        _counting.remove(counted)


def note(model: Any, *, forward: int = 0, backward: int = 0) -> None:
    """Count passes that `counting` cannot see: in a compiled graph, or stopped half-way."""
    for counted, passes in _counting:
        if counted is model:
            passes.forward += forward
            passes.backward += backward


@contextmanager
def _calls_of_module(model: Any, passes: Passes) -> Iterator[None]:
    from torch.nn import Sequential

    # ART calls the modules of a Sequential itself, and so never the Sequential.
    last = model
    while isinstance(last, Sequential) and len(last):
        last = last[-1]
    hook = last.register_forward_hook(lambda _, __, outputs: _count_pytorch(passes, outputs))
    try:
        yield
    finally:
        hook.remove()


def _count_pytorch(passes: Passes, outputs: Any) -> None:
    passes.forward += len(outputs)
    if outputs.requires_grad:

        def backward(gradient: Any) -> None:
            passes.backward += len(gradient)

        outputs.register_hook(backward)


@contextmanager
def _calls_of_keras(model: Any, passes: Passes) -> Iterator[None]:
    import tensorflow as tf

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def watched(outputs: Any) -> Any:
        def backward(gradient: Any) -> Any:
            passes.backward += len(gradient)
            return gradient

        return tf.identity(outputs), backward

    def count(outputs: Any) -> Any:
        if not tf.executing_eagerly():
            return outputs
        passes.forward += len(outputs)
        return watched(outputs)

    # KerasClassifier predicts in a compiled function, where nothing is counted.
    eagerly = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(True)
    try:
        with passing_through(model, "output", count):
            yield
    finally:
        tf.config.run_functions_eagerly(eagerly)
