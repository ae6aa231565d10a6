"""How many images pass through a model, forwards and backwards: a cost that no machine changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from art_nip.utils.frameworks import Framework, code_of, framework_of


@dataclass(eq=False)
class Passes:
    """Images that went through a model. A pass through a part of it counts as one."""

    forward: int = 0
    backward: int = 0


_counted: ContextVar[tuple[tuple[Any, Passes], ...]] = ContextVar("counted", default=())
"""Which models are being counted. Each thread has its own."""


@contextmanager
def counting(estimator: Any) -> Iterator[Passes | None]:
    """Count what passes through an ART classifier's model; None where the model is no module.

    Passes of the thread that counts are counted, and those of other threads are not: what runs in
    one thread has the same cost, whatever runs beside it.

    :param estimator: an ART classifier; all that share its model are counted with it.
    """
    model = getattr(estimator, "model", None)
    framework = framework_of(model)
    if framework not in (Framework.PYTORCH, Framework.TENSORFLOW):
        yield None
        return
    passes = Passes()
    before = _counted.get()
    try:
        _counted.set((*before, (model, passes)))
        with code_of("art_nip.estimators", framework).counted_calls(model, passes) as is_module:
            yield passes if is_module else None
    finally:
        _counted.set(before)


def counters(model: Any) -> list[Passes]:
    """Return the counts of a model that this thread is keeping."""
    return [passes for counted, passes in _counted.get() if counted is model]


def note(model: Any, *, forward: int = 0, backward: int = 0) -> None:
    """Count passes that `counting` cannot see: in a compiled graph, or stopped half-way."""
    for passes in counters(model):
        passes.forward += forward
        passes.backward += backward
