"""Some of the images of a source, kept so that they can be read again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.data.labels import Labels
from art_nip.data.spill import Spill
from art_nip.data.wanted import Images, plain

Batch = tuple[Images, Labels | None]
"""Images and their class indices, shape (N,); None if there are no labels."""


class Record(ABC):
    """Some of the images of a source, which can be read again."""

    @abstractmethod
    def add(self, images: Images, chosen: npt.NDArray[np.bool_]) -> None:
        """Keep those of a batch's images that were chosen, shape (N,); batches come in order."""

    @abstractmethod
    def __iter__(self) -> Iterator[Images]:
        """Return the kept images in order, as large batches as those of the source."""


class Rows(Record):
    """Rows of an array, by their indices."""

    def __init__(self, x: Any, size: int) -> None:
        self._x, self._size = x, size
        self._seen = 0
        self._kept: list[npt.NDArray[np.intp]] = []

    def add(self, images: Images, chosen: npt.NDArray[np.bool_]) -> None:
        self._kept.append(self._seen + np.flatnonzero(chosen))
        self._seen += len(images)

    def __iter__(self) -> Iterator[Images]:
        kept = np.concatenate(self._kept)
        for start in range(0, len(kept), self._size):
            yield plain(self._x[kept[start : start + self._size]])


class Copies(Record):
    """Copies of images in a temporary file: what is read once may come otherwise again."""

    def __init__(self, size: int, folder: Path | None) -> None:
        self._size, self._spill = size, Spill(folder)

    def __enter__(self) -> Copies:
        return self

    def __exit__(self, *_: object) -> None:
        self._spill.__exit__()

    def add(self, images: Images, chosen: npt.NDArray[np.bool_]) -> None:
        self._spill.append(images[chosen])

    def __iter__(self) -> Iterator[Images]:
        for images, _ in of_size(((images, None) for images in self._spill), self._size):
            yield images


def of_size(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """Join and cut batches so that all but the last are of one size."""
    waiting: list[Batch] = []
    n = 0
    for batch in batches:
        waiting.append(batch)
        n += len(batch[0])
        while n >= size:
            images, labels = _joined(waiting)
            yield images[:size], None if labels is None else labels[:size]
            waiting = [(images[size:], None if labels is None else labels[size:])]
            n -= size
    if n:
        yield _joined(waiting)


def _joined(batches: Sequence[Batch]) -> Batch:
    if len(batches) == 1:
        return batches[0]
    labels = [labels for _, labels in batches if labels is not None]
    images = np.concatenate([images for images, _ in batches])
    return images, np.concatenate(labels) if labels else None
