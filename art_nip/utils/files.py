"""Writing files that are there whole or not at all, and opening those that are not whole."""

import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, which takes the place of `path` when all is written.

    If the writing fails nothing is left of it; if it is killed the old file is still there.

    :param path: the file; its folder exists.
    """
    # Beside the file, since only within one file system a file takes another's place at once.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # mkstemp lets nobody else read it
        temporary.replace(path)
    except BaseException:
        temporary.unlink()
        raise


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all.

    :param path: the file; its folder exists.
    :param content: of the file.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_arrays(
    path: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file, whole or not at all.

    :param path: the file; its folder exists.
    :param arrays: by name.
    :param metadata: of the file.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with replacing(path) as temporary:
        save_file(contiguous, temporary, dict(metadata) if metadata else None)


@contextmanager
def reading(path: Path, otherwise: str) -> Iterator[Any]:
    """Open a safetensors file, as NumPy arrays.

    :param path: the file.
    :param otherwise: what to do if it is not whole, for the error.
    :raises FileNotFoundError: if there is none.
    :raises ValueError: if it is truncated or of another kind.
    """
    if not path.is_file():  # of a folder, safetensors says that there is no such device
        raise FileNotFoundError(f"There is no file {path}. {otherwise}")
    try:
        with safe_open(path, "numpy") as file:
            yield file
    except SafetensorError as error:
        raise ValueError(
            f"{path} is truncated or not a safetensors file ({error}). {otherwise}"
        ) from error


def read_ahead(array: npt.NDArray[Any], wanted: bool) -> None:
    """Say how an array that is mapped from a file is read; of others this says nothing.

    Where rows are picked out of it, reading ahead brings many times as much from the disk.

    :param array: an array that is the whole of what was mapped, or begins within it.
    :param wanted: whether it is read in order, so that the system shall read ahead.
    """
    mapped = array.base
    if not isinstance(mapped, mmap.mmap) or not hasattr(mmap, "MADV_RANDOM"):
        return
    start = array.ctypes.data - np.frombuffer(mapped, np.uint8).ctypes.data
    before = start % mmap.PAGESIZE
    advice = mmap.MADV_NORMAL if wanted else mmap.MADV_RANDOM
    mapped.madvise(advice, start - before, array.nbytes + before)


def _umask() -> int:
    # The only way to read it is to set it.
    mask = os.umask(0)
    os.umask(mask)
    return mask
