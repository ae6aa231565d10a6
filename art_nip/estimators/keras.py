"""Seeing what goes through a Keras layer, of whatever kind of model, and leaving no trace of it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Tensor = Any


@contextmanager
def passing_through(layer: Any, side: str, function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Send what goes into a layer, or comes out, through a function; then restore it."""
    original = layer.call

    def call(*arguments: Any, **keywords: Any) -> Any:
        if side == "input":
            return original(function(arguments[0]), *arguments[1:], **keywords)
        return function(original(*arguments, **keywords))

    # Not setattr: Keras tracks attributes, and the layer shall be as it was.
    attributes = vars(layer)
    before = attributes.get("call")
    attributes["call"] = call
    try:
        yield
    finally:
        if before is None:
            del attributes["call"]
        else:
            attributes["call"] = before
