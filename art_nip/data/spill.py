"""Rows that do not fit into memory: kept in a temporary file, and read back in order."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class Spill:
    """Arrays in a temporary file, which is gone at the end.

    Arrays are read and written, not mapped, so that they take the memory of one at a time.

    :param folder: where the file is; None for the system's temporary folder.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._kinds: list[tuple[np.dtype[Any], tuple[int, ...]]] = []

    def __enter__(self) -> Spill:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: npt.NDArray[Any]) -> None:
        """Add an array of numbers."""
        if rows.size:
            self._file.write(np.ascontiguousarray(rows).data)
            self._kinds.append((rows.dtype, rows.shape))

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        """Return the arrays as they were added, without those that were empty."""
        place = 0
        for dtype, shape in self._kinds:
            self._file.seek(place)
            data = bytearray(self._file.read(math.prod(shape) * dtype.itemsize))
            place += len(data)
            yield np.frombuffer(data, dtype).reshape(shape)
