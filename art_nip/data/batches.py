"""Images and labels in any form that people have them in, as checked batches of NumPy arrays.

Arrays are sliced; all else is read once, from its beginning to its end, and never held whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from art.data_generators import DataGenerator

from art_nip.data import sources
from art_nip.data.labels import Labels
from art_nip.data.pictures import Pictures
from art_nip.data.records import Batch, Copies, Record, Rows, of_size
from art_nip.data.wanted import Wanted, checked
from art_nip.utils.arrays import to_numpy
from art_nip.utils.frameworks import framework_of
from art_nip.utils.validation import check_shape, class_indices, real_numbers

KINDS = (
    "arrays x and y, a PyTorch DataLoader, a data generator of ART, a datasets.Dataset, a "
    "tf.data.Dataset, or another iterable of batches (x, y)"
)


class Batches(ABC):
    """Batches of one size, the last of which may be smaller; see :func:`batches_of`."""

    n_images: int | None
    """How many images there are, as far as that can be told without reading them."""

    @abstractmethod
    def __iter__(self) -> Iterator[Batch]:
        """Read the batches.

        :raises TypeError: if images are no numbers.
        :raises ValueError: if images or labels are not as wanted; the message says where.
        """

    @abstractmethod
    def record(self, folder: Path | None = None) -> AbstractContextManager[Record]:
        """Return an empty record, for who needs some of the images a second time.

        :param folder: where it may put a temporary file; None for the system's folder.
        """


def is_stream(x: Any, input_shape: tuple[int, ...]) -> bool:
    """Return whether something yields batches; else it is to be taken for an array of images.

    :param x: what was given for images.
    :param input_shape: shape of one image.
    """
    if isinstance(x, (list, tuple)):
        first = sources.images_of(x[0]) if len(x) else None
        return first is not None and len(first.shape) == len(input_shape) + 1
    if isinstance(x, DataGenerator):  # that of NumPy arrays is one too
        return True
    return not _is_array(x) and not isinstance(x, (str, bytes)) and sources.can_be_read(x)


def can_be_sliced(x: Any) -> bool:
    """Return whether something has the rows of an array, wherever they lie: in memory, in a file.

    :param x: what was given for images.
    """
    return all(hasattr(x, name) for name in ("shape", "dtype", "__getitem__"))


def _is_array(x: Any) -> bool:
    return isinstance(x, (list, tuple)) or hasattr(x, "__array__") or framework_of(x) is not None


def batches_of(x: Any, y: Any, wanted: Wanted, size: int) -> Batches:
    """Return images and labels as batches.

    :param x: images, an array of shape (N, *input_shape); or a PyTorch `DataLoader`, an ART
        `DataGenerator`, a `datasets.Dataset`, a `tf.data.Dataset`, or any other iterable of batches
        (images, labels), of images alone, or of mappings of columns. A generator that repeats its
        images is read until it gave as many as its `size` says.
    :param y: labels of an array, indices or one-hot rows, or None; all else brings its own.
    :param wanted: what images and labels must be.
    :param size: the size of the batches.
    :raises TypeError: if it is nothing of this, or labels are given beside batches.
    :raises ValueError: if an array, or its labels, have another shape, or nothing ends.
    """
    if not is_stream(x, wanted.input_shape):
        if isinstance(x, (Mapping, str, bytes)) or not _is_array(x):
            raise TypeError(f"x is a {type(x).__name__}; give {KINDS}.")
        return _Sliced(x, y, wanted, size)
    if y is not None:
        raise TypeError(
            f"x is a {type(x).__name__}, whose batches bring their labels: leave out y, or give "
            "x and y as arrays."
        )
    return _Streamed(x, wanted, size)


class _Sliced(Batches):
    """The batches of an array, or of what can be sliced as one: mapped files, data sets of h5py."""

    def __init__(self, x: Any, y: Any, wanted: Wanted, size: int) -> None:
        elsewhere = can_be_sliced(x) and framework_of(x) is None
        self._x = x if elsewhere else real_numbers(to_numpy(x))
        self._wanted, self._size = wanted, size
        check_shape(self._x, wanted.input_shape)
        self.n_images: int = len(self._x)
        self._labels = (
            None if y is None else class_indices(to_numpy(y), self.n_images, wanted.nb_classes)
        )

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, self.n_images, self._size):
            rows = slice(start, start + self._size)
            images = checked(self._x[rows], self._wanted, lambda row: f"Image {start + row}")  # noqa: B023
            yield images, None if self._labels is None else self._labels[rows]

    def record(self, folder: Path | None = None) -> AbstractContextManager[Record]:
        return nullcontext(Rows(self._x, self._size))


class _Streamed(Batches):
    """The batches of what is read once."""

    def __init__(self, x: Any, wanted: Wanted, size: int) -> None:
        self._source = sources.source_of(x, size)
        self.n_images = self._source.n_images
        self._wanted, self._size = wanted, size

    def __iter__(self) -> Iterator[Batch]:
        yield from of_size(self._checked(), self._size)

    def record(self, folder: Path | None = None) -> AbstractContextManager[Record]:
        return Copies(self._size, folder)

    def _checked(self) -> Iterator[Batch]:
        labelled: bool | None = None
        left = self._source.n_images if self._source.repeats else None
        for number, item in enumerate(self._source.items):
            name = f"Batch {number}"
            images, labels = sources.parts(item, name, self._wanted.axes)
            if isinstance(images, Pictures):
                images = images.pixels(self._wanted, name)
            images = checked(images, self._wanted, lambda row: f"Batch {number}, row {row}", name)  # noqa: B023
            if not len(images):
                continue
            if labelled is not None and labelled != (labels is not None):
                raise ValueError(
                    f"{name} has {'no ' * labelled}labels, and those before it have "
                    f"{'some' if labelled else 'none'}: give labels with every batch or with none."
                )
            labelled = labels is not None
            indices = None if labels is None else self._indices(labels, len(images), name)
            yield images[:left], None if indices is None else indices[:left]
            if left is not None:
                left -= len(images)
                if left <= 0:
                    return

    def _indices(self, labels: Any, n: int, name: str) -> Labels:
        try:
            return class_indices(to_numpy(labels), n, self._wanted.nb_classes)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
