"""The file of a fit, which consists mostly of the bank.

It is one safetensors file: arrays that are memory-mapped when opened, and JSON metadata. Nothing in
it is ever executed.
"""

import json
import math
import mmap
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.utils.files import read_ahead, reading, replacing, write_arrays

FORMAT = "art-nip candidates"
FORMAT_VERSION = "5"
"""Before 3, ρ̂ was in units of the values; before 4, there were no answers of the model; before 5,
every retrieval had candidates."""
READABLE = ("4", "5")

FIT_ANEW = "Copy it again, or fit and save anew."

DTYPES = {"F32": np.float32, "F16": np.float16, "U8": np.uint8, "I64": np.int64}

ROOM = 2**16
"""Bytes at the beginning of a growing file for what the arrays are, besides the metadata."""

NO_RESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)
"""The flag of Linux not to set memory aside for a copy; Python does not know it before 3.13."""

ALIGNMENT = 8
"""Bytes of the largest number: arrays begin at a multiple of them."""


def save(path: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write arrays and metadata to one file, whole or not at all.

    :param path: the file; an existing one is replaced when the new one is complete.
    :param arrays: arrays by name.
    :param metadata: anything that JSON can hold.
    """
    for array in arrays.values():
        read_ahead(array, wanted=True)
    write_arrays(path, arrays, _header(metadata))


def _header(metadata: Mapping[str, Any]) -> dict[str, str]:
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "metadata": json.dumps(metadata),
    }


class GrowingFile:
    """A file of a fit that takes the ρ̂ of candidates as they come; see :func:`growing`.

    They are at the beginning of the data. What the arrays are, which the format has before the
    data, is written when all is there, into room that was left for it.

    :param path: the file.
    :param input_shape: shape of one ρ̂.
    :param dtype: how they are stored.
    :param metadata: as large as the metadata will be.
    """

    def __init__(
        self, path: Path, input_shape: tuple[int, ...], dtype: str, metadata: Mapping[str, Any]
    ) -> None:
        self._path, self._dtype, self._shape = path, np.dtype(dtype), input_shape
        room = ROOM + len(json.dumps(_header(metadata)))
        self._room = room + -room % ALIGNMENT
        self._file = open(path, "wb")  # noqa: SIM115 - closed by __exit__
        self._file.seek(8 + self._room)
        self._entries: dict[str, Any] = {}
        self._size = 0

    def __enter__(self) -> "GrowingFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, codes: npt.NDArray[Any]) -> None:
        """Take some more ρ̂, shape (N, *input_shape)."""
        self._file.write(np.ascontiguousarray(codes, self._dtype).data)
        self._size += len(codes)

    def rows(self) -> npt.NDArray[Any]:
        """Return all ρ̂, shape (M, *input_shape), mapped from the file."""
        self._file.flush()
        mapped = _mapping(self._path)
        codes: npt.NDArray[Any] = np.ndarray(
            (self._size, *self._shape), self._dtype, mapped, 8 + self._room
        )
        return codes

    def finish(
        self, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, Any]
    ) -> dict[str, npt.NDArray[Any]]:
        """Write all else, and return all arrays, mapped from the file.

        :param arrays: arrays by name; of the ρ̂, "codes", is known already what they are.
        :param metadata: anything that JSON can hold.
        """
        self._note("codes", self._dtype, (self._size, *self._shape))
        # With the largest numbers first, all begin at a multiple of their size.
        padding = np.zeros(-self._end % ALIGNMENT, np.uint8)
        others = {name: array for name, array in arrays.items() if name != "codes"}
        in_order = sorted(others.items(), key=lambda item: -item[1].itemsize)
        for name, array in [*([("padding", padding)] if padding.size else []), *in_order]:
            self._note(name, array.dtype, array.shape)
            self._file.write(np.ascontiguousarray(array).data)
        header = json.dumps({"__metadata__": _header(metadata), **self._entries}).encode()
        if len(header) > self._room:
            raise ValueError(
                f"{self._path} has {self._room} bytes of room for its header, which takes "
                f"{len(header)}: fit without bank=…, and save."
            )
        self._file.seek(0)
        self._file.write(self._room.to_bytes(8, "little") + header.ljust(self._room))
        self._file.flush()
        return load(self._path)[0]

    @property
    def _end(self) -> int:
        return max((entry["data_offsets"][1] for entry in self._entries.values()), default=0)

    def _note(self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        names = {np.dtype(known): name for name, known in DTYPES.items()}
        size = math.prod(shape) * dtype.itemsize
        self._entries[name] = {
            "dtype": names[dtype],
            "shape": list(shape),
            "data_offsets": [self._end, self._end + size],
        }


@contextmanager
def growing(
    path: Path, input_shape: tuple[int, ...], dtype: str, metadata: Mapping[str, Any]
) -> Iterator[GrowingFile]:
    """Give a file that takes the place of `path` at the end, if it was finished by then.

    :param path: the file; an existing one stays as it is until then, whatever happens.
    :param input_shape: shape of one ρ̂.
    :param dtype: how they are stored.
    :param metadata: as large as the metadata will be.
    """
    with replacing(path) as temporary, GrowingFile(temporary, input_shape, dtype, metadata) as file:
        yield file


def load(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Open a file that `save` wrote; its arrays are mapped into memory, not read.

    :param path: the file.
    :return: arrays by name, and the metadata.
    :raises FileNotFoundError: if there is none.
    :raises ValueError: if it is truncated, damaged, not a file of this package, or of another
        format version.
    """
    with reading(path, FIT_ANEW) as file:
        header = file.metadata() or {}
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file, but holds no NIP candidates.")
    if header.get("format_version") not in READABLE:
        raise ValueError(
            f"{path} has format version {header.get('format_version')}, this art-nip reads "
            f"{' and '.join(READABLE)}. Use the art-nip that wrote it, or fit and save anew."
        )
    try:
        metadata = json.loads(header["metadata"])
        # Entries that every reader of a file needs.
        model, _ = metadata["model"], dict(metadata["parameters"])
        _ = model["layer"], model["n_neurons"], tuple(model["input_shape"]), model["fingerprint"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} has damaged metadata ({error!r}). {FIT_ANEW}") from error
    return _mapped(path), metadata


def _mapped(path: Path) -> dict[str, npt.NDArray[Any]]:
    # safetensors has checked the header; its NumPy reader copies, so the arrays are mapped here.
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(size))
    del entries["__metadata__"]
    for name, entry in entries.items():
        if entry["dtype"] not in DTYPES or not np.prod(entry["shape"]):
            raise ValueError(
                f"{path} has an array {name!r} of {entry['dtype']}, shape {tuple(entry['shape'])}, "
                f"which no fit has. {FIT_ANEW}"
            )
    mapped = _mapping(path)
    return {
        name: np.ndarray(
            tuple(entry["shape"]),
            DTYPES[entry["dtype"]],
            mapped,
            8 + size + entry["data_offsets"][0],
        )
        for name, entry in entries.items()
    }


def _mapping(path: Path) -> mmap.mmap:
    """Return a file as memory, of which only what is looked at is read.

    It is copy-on-write: PyTorch needs writable arrays, and the file must not change.
    """
    with open(path, "rb") as file:
        if not hasattr(mmap, "MAP_PRIVATE"):  # on Windows
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        # Without this flag, Linux refuses files that are larger than its memory.
        flags = mmap.MAP_PRIVATE | (NO_RESERVE if sys.platform == "linux" else 0)
        return mmap.mmap(file.fileno(), 0, flags, mmap.PROT_READ | mmap.PROT_WRITE)
