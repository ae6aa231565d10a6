"""The exchange between `Suppress` layers and their training, in either framework."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from art_nip.utils.arrays import Array, namespace


class AuxiliaryPass:
    """The data that layers read and write in one forward pass.

    :param labels: the true classes, shape (N,), in training; with None each layer takes the class
        that it predicts.
    """

    def __init__(self, labels: Array | None = None) -> None:
        self.labels = labels
        self.logits: list[Array] = []

    def classes(self, logits: Array) -> Array:
        """Record the auxiliary logits of a layer, and return the classes whose weights it takes.

        :param logits: shape (N, nb_classes).
        """
        self.logits.append(logits)
        return namespace(logits).argmax(logits, axis=1) if self.labels is None else self.labels


def suppressing_layers(model: Any) -> list[Any]:
    """Return the `Suppress` layers of a PyTorch or Keras model; any other object has none."""
    modules = getattr(model, "modules", None)
    layers = modules() if callable(modules) else getattr(model, "layers", None)
    return [layer for layer in layers or () if _suppresses(layer)]


def _suppresses(layer: Any) -> bool:
    # The class is checked, as layers of other packages may have the same name.
    return getattr(type(layer), "auxiliary", layer) is None


@contextmanager
def auxiliary_logits(layers: Iterable[Any], labels: Array | None) -> Iterator[list[Array]]:
    """Yield the list of auxiliary logits of all `Suppress` layers called in the context.

    :param layers: modules or layers of a model, of which some may suppress.
    :param labels: see :class:`AuxiliaryPass`.
    """
    suppressing = [layer for layer in layers if _suppresses(layer)]
    current = AuxiliaryPass(labels)
    for layer in suppressing:
        layer.auxiliary = current
    try:
        yield current.logits
    finally:
        for layer in suppressing:
            layer.auxiliary = None
