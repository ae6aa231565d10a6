"""Writing files that are there whole or not at all, and opening those that are not whole."""

import glob
import mmap
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

if sys.platform != "win32":
    import fcntl

RANDOM_PART = 8
"""How many letters `tempfile` puts into a name."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, which takes the place of `path` when all is written.

    If the writing fails nothing is left of it; if it is killed the old file is still there, and
    what was written beside it, until `clear_leftovers` is called.

    :param path: the file; its folder exists. Of a link, the file that it leads to is replaced.
    :raises ValueError: if it is there, and no file: a folder, or a device.
    """
    path = destination(path)
    with _locked_folder(path) as folder:
        temporary = folder / path.name
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())  # safetensors lets nobody else read it
        temporary.replace(path)


def destination(path: Path) -> Path:
    """Return the file that a path leads to, through links.

    :raises ValueError: if something is there that is no file.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise ValueError(
            f"{path} is a folder; give the name of a file in it."
            if target.is_dir()
            else f"{path} is a device, and no file can take its place; give the name of a file."
        )
    return target


def check_writable(path: Path) -> None:
    """Raise an error if a file cannot be written there, before what is to be in it is computed.

    :param path: the file; its folder need not exist yet.
    :raises OSError: if neither it nor its folder can be made.
    :raises ValueError: if something is there that is no file.
    """
    folder = next(parent for parent in destination(path).parents if parent.exists())
    if not folder.is_dir():
        raise NotADirectoryError(f"{path} cannot be written: {folder} is a file, and no folder.")
    try:
        with TemporaryDirectory(prefix=".", suffix=".tmp", dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or error
        raise OSError(f"{path} cannot be written: {reason} in the folder {folder}.") from error


def clear_leftovers(path: Path) -> None:
    """Remove what processes left beside a file that were killed as they wrote it.

    :param path: the file. What living processes write beside it is left alone.
    """
    if sys.platform == "win32":  # nothing tells there whether its writer lives
        return
    path = destination(path)
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.{'?' * RANDOM_PART}.tmp"):
        with suppress(OSError), _opened(leftover) as folder:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(leftover)


@contextmanager
def _locked_folder(path: Path) -> Iterator[Path]:
    """Give a folder beside a file, with a lock on it as long as this process lives.

    safetensors has temporary files of its own, which are in it too.
    """
    # Beside it, since only within one file system a file takes another's place at once.
    made = partial(TemporaryDirectory, prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    while True:
        with made() as name, ExitStack() as stack:
            if sys.platform == "win32" or _is_locked(name, stack):
                yield Path(name)
                return


def _is_locked(folder: str, stack: ExitStack) -> bool:
    """Lock a new folder; return False if it has seemed a leftover to another process by then."""
    try:
        opened = stack.enter_context(_opened(folder))
    except FileNotFoundError:
        return False
    with suppress(OSError):  # some file systems have no locks
        fcntl.flock(opened, fcntl.LOCK_EX)
    return os.path.exists(folder)


@contextmanager
def _opened(folder: str | Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


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
    :raises OSError: if it cannot be written, as on a full disk.
    """
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with replacing(path) as temporary:
        try:
            save_file(contiguous, temporary, dict(metadata) if metadata else None)
        except SafetensorError as error:
            raise OSError(f"{path} cannot be written: {error}.") from error


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


def tensors(file: Any) -> dict[str, npt.NDArray[Any]]:
    """Return all arrays of a file that `reading` has opened, by name."""
    return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


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
