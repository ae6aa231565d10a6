"""Layers of a model: how they are written, and which one is meant by a name or by "auto"."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal


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
    """One layer as it was called in a forward pass."""

    name: str
    kind: Literal["convolution", "one pixel", "dense", "other"]
    """Dense is what takes one vector per image; a 1×1 convolution of one pixel may stand for it."""
    size: int
    """How many values go into it for one image."""


def named_layer(requested: str, calls: Sequence[Call], all_names: Iterable[str]) -> Layer:
    """Return the layer of that name.

    :param requested: a layer as `Layer` writes it.
    :param calls: the layers in the order in which a forward pass called them.
    :param all_names: the names of all layers of the model.
    :raises ValueError: if there is no such layer; the message says what there is.
    """
    layer = Layer.parse(requested)
    called = [call.name for call in calls]
    if layer.name in called:
        return layer
    if layer.name in all_names:
        raise ValueError(
            f"layer {layer.name!r} is in the model, but a forward pass does not call it. "
            f"Layers that it calls: {listed(called)}."
        )
    close = difflib.get_close_matches(layer.name, called, n=5, cutoff=0.4)
    hint = f"The nearest: {listed(close)}." if close else f"There are: {listed(called)}."
    raise ValueError(f"layer {layer.name!r} is not in the model. {hint}")


def layer_before_dense(calls: Sequence[Call]) -> Layer:
    """Return the layer between convolutional and dense part: the paper's (section III-C).

    That is what goes into the first dense layer after the last convolution: the flattened feature
    maps, or their global average.

    :param calls: the layers in the order in which a forward pass called them.
    :raises ValueError: if there is none; the message lists the layers.
    """
    names = listed([call.name for call in calls])
    if not any(call.kind == "convolution" for call in calls):
        raise ValueError(
            'layer="auto" looks for the layer between the convolutional and the dense part, but no '
            f"convolution was called. Name a layer: {names}."
        )
    # Keras once wrote MobileNet's dense layer as a convolution: looked for where no other is.
    for convolutional, dense in (
        (("convolution", "one pixel"), "dense"),
        (("convolution",), "one pixel"),
    ):
        last = max(i for i, call in enumerate(calls) if call.kind in convolutional)
        first = next((call for call in calls[last + 1 :] if call.kind == dense), None)
        if first:
            return Layer(first.name, "input")
    raise ValueError(
        'layer="auto" looks for the layer between the convolutional and the dense part, but no '
        f"dense layer was called after the last convolution. Name a layer: {names}."
    )


def listed(names: Sequence[str]) -> str:
    """Return names as a text for an error."""
    unique = list(dict.fromkeys(names))
    shown = ", ".join(unique[:30])
    return shown if len(unique) <= 30 else f"{shown}, … ({len(unique)} in all)"
