"""Seeing what goes through a Keras layer, of whatever kind of model, and leaving no trace of it.

Sub-models lose gradients or fail on many kinds of Keras models; replacing a layer's `call` for a
while works on all.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from art_nip.estimators.values import Arguments, Keywords


class Around(Protocol):
    """What is done around a call of a layer."""

    def __call__(self, call: Callable[..., Any], arguments: Arguments, keywords: Keywords) -> Any:
        """Call the layer, or not, and return what shall come out of it."""


@dataclass
class _Replacement:
    """What stands in the place of a layer's `call` while any thread looks at it."""

    original: Callable[..., Any]
    before: Any
    around: list[tuple[int, Around]] = field(default_factory=list)

    def call(self, *arguments: Any, **keywords: Any) -> Any:
        thread = threading.get_ident()
        function = self.original
        for owner, around in tuple(self.around):
            if owner == thread:
                function = _wrapped(around, function)
        return function(*arguments, **keywords)


def _wrapped(around: Around, function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *arguments, **keywords: around(function, arguments, keywords)


_lock = threading.RLock()
_replaced: dict[int, _Replacement] = {}
"""By the identity of the layer, which is alive as long as it is here."""


@contextmanager
def calling_through(layer: Any, around: Around) -> Iterator[None]:
    """Do something around the calls of a layer that this thread makes; then restore the layer.

    Other threads that use the layer meanwhile are not changed.

    :param layer: a Keras layer or model.
    :param around: is given the layer's `call` and its arguments, and returns what comes out.
    """
    entry = (threading.get_ident(), around)
    try:
        with _lock:
            _replacement(layer).around.append(entry)
        yield
    finally:
        with _lock:
            _remove(layer, entry)


def _replacement(layer: Any) -> _Replacement:
    if id(layer) not in _replaced:
        # Not setattr: Keras tracks attributes, and the layer shall be as it was.
        attributes = vars(layer)
        made = _Replacement(layer.call, attributes.get("call"))
        _replaced[id(layer)] = made
        attributes["call"] = lambda *arguments, **keywords: made.call(*arguments, **keywords)
    return _replaced[id(layer)]


def _remove(layer: Any, entry: tuple[int, Around]) -> None:
    made = _replaced.get(id(layer))
    if made is None:
        return
    made.around[:] = [other for other in made.around if other is not entry]
    if made.around:
        return
    del _replaced[id(layer)]
    if made.before is None:
        vars(layer).pop("call", None)
    else:
        vars(layer)["call"] = made.before
