"""Layers of a model: how they are written, how they were called, and which one a name means."""

import difflib
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from art_nip.estimators.values import Value

MOST_NAMES = 30
"""How many names an error lists."""


@dataclass(frozen=True)
class Layer:
    """A place in a model: what goes into a layer, or what comes out of it.

    Written as the layer's dotted name, with `:input` behind it for what goes in.
    """

    name: str
    side: Literal["input", "output"] = "output"

    def __str__(self) -> str:
        return self.name if self.side == "output" else f"{self.name}:input"

    @classmethod
    def parse(cls, text: str) -> "Layer":
        """Read a layer as `str` writes it."""
        name, _, side = text.partition(":")
        if side not in ("", "input"):
            raise ValueError(
                f"layer {text!r} ends in {side!r}; after the colon only 'input' is allowed, "
                "for what goes into the layer."
            )
        return cls(name, "input" if side else "output")


@dataclass(frozen=True)
class Call:
    """One layer as it was called in a traced pass.

    :param name: dotted name of the layer.
    :param kind: a "convolution"; one of a map of "one pixel", with a kernel of one; "dense", which
        takes one vector per image; or "other".
    :param inputs: what went into it.
    :param outputs: what came out of it.
    :param covers_map: whether the kernel of a convolution is as large as the map that goes in, so
        that it is a dense layer written as a convolution.
    :param channels_first: whether channels come before places; None if the layer does not say.
    """

    name: str
    kind: Literal["convolution", "one pixel", "dense", "other"]
    inputs: Value
    outputs: Value
    covers_map: bool = False
    channels_first: bool | None = None

    @property
    def size(self) -> int:
        """How many values go into it for one image."""
        return self.inputs.size

    def at(self, layer: Layer) -> Value:
        """Return what goes in, or what comes out, as a layer asks."""
        return self.inputs if layer.side == "input" else self.outputs


def is_inside(name: str, parts: Collection[str]) -> bool:
    """Return whether a dotted name is that of a layer inside one of some parts of a model."""
    return any(name.startswith(f"{part}.") for part in parts)


def called_once(calls: Sequence[Call]) -> list[Call]:
    """Return the calls of layers that a pass calls once, so that their name says which is meant."""
    counts = Counter(call.name for call in calls)
    return [call for call in calls if counts[call.name] == 1]


def named_layer(requested: str, calls: Sequence[Call], all_names: Sequence[str]) -> Layer:
    """Return the layer of that name.

    :param requested: a layer as `Layer` writes it.
    :param calls: the layers in the order in which a pass called them.
    :param all_names: the names of all layers of the model; some may be there several times.
    :raises ValueError: if there is no such layer, the name does not say which is meant, or what it
        handles is not one tensor with a row for each image; the message says what to do.
    """
    layer = Layer.parse(requested)
    if all_names.count(layer.name) > 1:
        raise ValueError(
            f"layer {layer.name!r} is the name of several layers of the model; give them names of "
            "their own, so that the name says which is meant."
        )
    called = [call.name for call in calls]
    if layer.name not in called:
        raise ValueError(_unknown(layer.name, called, all_names))
    if called.count(layer.name) > 1:
        raise ValueError(
            f"layer {layer.name!r} is called {called.count(layer.name)} times in one pass, so its "
            f"name does not say which call is meant. {name_another(called_once(calls))}"
        )
    call = calls[called.index(layer.name)]
    if problem := call.at(layer).problem:
        raise ValueError(
            f"layer {str(layer)!r} {problem}. {name_another(called_once(calls), near=call)}"
        )
    return layer


def _unknown(name: str, called: Sequence[str], all_names: Sequence[str]) -> str:
    if name in all_names:
        return (
            f"layer {name!r} is in the model, but a forward pass does not call it. Layers that it "
            f"calls: {listed(called)}."
        )
    close = difflib.get_close_matches(name, called, n=5, cutoff=0.4)
    hint = f"The nearest: {listed(close)}." if close else f"There are: {listed(called)}."
    return f"layer {name!r} is not in the model. {hint}"


def name_another(calls: Sequence[Call], near: Call | None = None) -> str:
    """Return the advice to name another layer, with those that could be meant.

    :param calls: of layers that a pass calls once.
    :param near: list the layers called nearest to this call; None lists the last ones.
    """
    usable = [call for call in calls if not (call.inputs.problem and call.outputs.problem)]
    names = [call.name if not call.outputs.problem else f"{call.name}:input" for call in usable]
    if not names:
        return (
            "No layer is left that the model calls once in a pass, and with one tensor that has "
            "a row for each image."
        )
    if near in usable:
        start = max(0, usable.index(near) - MOST_NAMES // 2)
        names = names[start : start + MOST_NAMES]
    return f"Name a layer: {listed(names)}."


def listed(names: Sequence[str]) -> str:
    """Return names as a text for an error: the last ones, which come before the scores, if many."""
    unique = list(dict.fromkeys(names))
    shown = ", ".join(unique[-MOST_NAMES:])
    return shown if len(unique) <= MOST_NAMES else f"… ({len(unique)} in all) …, {shown}"
