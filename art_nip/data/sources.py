"""What batches come from: how each kind of source is read, and the parts of what it gives."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from art.data_generators import DataGenerator

from art_nip.data.pictures import Pictures

LABELS = ("label", "labels", "y", "target", "targets", "class")
"""The names of a column of labels."""


def can_be_read(x: Any) -> bool:
    """Return whether something can be read from beginning to end."""
    if isinstance(x, Mapping):
        return _is_of_datasets(x)
    return hasattr(x, "__iter__") or _is_sequence(x)


class Source(NamedTuple):
    """What is read from beginning to end.

    :param items: the batches as they are.
    :param n_images: the number of images, if that is known.
    :param repeats: whether images come again once there were as many.
    """

    items: Iterable[Any]
    n_images: int | None
    repeats: bool = False


def source_of(x: Any, size: int) -> Source:
    """Return how something is read.

    :param x: what batches come from.
    :param size: the size of the batches, where this is left open.
    :raises TypeError: if it holds several sets.
    :raises ValueError: if it does not end.
    """
    if isinstance(x, DataGenerator):
        if x.size is None:
            raise ValueError(
                f"x is a {type(x).__name__} with size=None, and may repeat its images for ever: "
                "say how many there are, size=…."
            )
        return Source(_generated(x), x.size, repeats=True)
    if _is_of_datasets(x):
        if isinstance(x, Mapping):
            raise TypeError(
                f"x is a {type(x).__name__}, which holds several sets: name one, "
                f"x[{next(iter(x), 'train')!r}]."
            )
        return Source(x.iter(batch_size=size), _length(x))
    cardinality = getattr(x, "cardinality", None)  # of a tf.data.Dataset
    if cardinality is not None and int(cardinality()) == -1:
        raise ValueError(
            "x is a tf.data.Dataset that repeats its batches for ever. Leave out its repeat(), or "
            "say how many there are: x.take(batches)."
        )
    if not hasattr(x, "__iter__"):
        return Source((x[place] for place in range(len(x))), None)
    return Source(x, _length(getattr(x, "dataset", None)))


def _generated(x: DataGenerator) -> Iterator[Any]:
    """Yield the batches of a generator of ART: the epoch of its iterator, or without end."""
    items = x.iterator
    if items is None:  # a user's own class, of which only this is known
        while True:
            yield x.get_batch()
    yield from items() if inspect.isgeneratorfunction(items) else items


def parts(item: Any, name: str, axes: int) -> tuple[Any, Any | None]:
    """Return the images and the labels of a batch; None for labels that it does not have.

    :param item: what a source gave.
    :param name: what to call it in errors.
    :param axes: the number of axes of a batch of images.
    :raises ValueError: if it is not clear which part is what.
    """
    if isinstance(item, Mapping):
        return _columns(item, name, axes)
    if not isinstance(item, (tuple, list)):
        return item, None
    if len(item) not in (1, 2):
        raise ValueError(
            f"{name} has {len(item)} parts; give images and labels, (x, y), or images alone. NIP "
            "takes no weights of images."
        )
    return item[0], item[1] if len(item) == 2 else None


def images_of(item: Any) -> Any | None:
    """Return the first array of a batch, which are its images; None if it holds no array."""
    if isinstance(item, Mapping):
        arrays = [value for value in item.values() if hasattr(value, "shape")]
        return max(arrays, key=lambda array: len(array.shape), default=None)
    if isinstance(item, (tuple, list)):
        item = item[0] if len(item) else None
    return item if hasattr(item, "shape") else None


def _columns(item: Mapping[str, Any], name: str, axes: int) -> tuple[Any, Any | None]:
    values = {
        column: Pictures(value) if Pictures.are_in(value) else value
        for column, value in item.items()
    }
    images = [column for column, value in values.items() if _axes(value) == axes]
    images += [column for column, value in values.items() if isinstance(value, Pictures)]
    listed = ", ".join(map(repr, item))
    if len(images) != 1:
        raise ValueError(
            f"{name} has the columns {listed}, and {'several' if images else 'none'} of them may "
            f"be the images{': ' * bool(images)}{', '.join(images)}. Leave one column of images, "
            f"of {axes} axes with that of the batch, and one of labels, named 'label'."
        )
    others = [column for column in item if column != images[0]]
    labels = [column for column in others if column in LABELS]
    if others and len(labels) != 1:
        raise ValueError(
            f"{name} has the columns {listed}, and which are the labels is not clear. Name one "
            "'label'; to take the model's own predictions for labels, leave the images alone."
        )
    return values[images[0]], values[labels[0]] if labels else None


def _axes(value: Any) -> int:
    if isinstance(value, Pictures):
        return 0
    try:
        return len(value.shape) if hasattr(value, "shape") else np.ndim(value)
    except ValueError:  # rows of different lengths
        return 0


def _is_sequence(x: Any) -> bool:
    return hasattr(x, "__getitem__") and hasattr(x, "__len__")


def _is_of_datasets(x: Any) -> bool:
    """Return whether something is a set, or sets, of Hugging Face's `datasets`."""
    module = sys.modules.get("datasets")
    names = ("Dataset", "IterableDataset", "DatasetDict", "IterableDatasetDict")
    return module is not None and isinstance(x, tuple(getattr(module, name) for name in names))


def _length(x: Any) -> int | None:
    try:
        return len(x)
    except TypeError:
        return None
