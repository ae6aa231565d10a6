"""Local image sets: a parquet file, a file of NumPy arrays, or a folder of images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib.npyio import NpzFile

from art_nip.data.decoding import decode
from art_nip.data.images import Part
from art_nip.data.labels import class_indices
from art_nip.data.parquet_files import parquet_part
from art_nip.utils.warned import warn

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp")


def part(folder: Path, stem: str) -> Part:
    """Return the image set `stem` of a folder, in the first form of the three that is there.

    :raises FileNotFoundError: if none is; the message names all three.
    """
    forms: tuple[tuple[str, Callable[[Path], Part]], ...] = (
        (".parquet", parquet_part),
        (".npz", _npz),
        ("", _image_folder),
    )
    for suffix, read in forms:
        path = folder / f"{stem}{suffix}"
        if path.exists():
            return read(path)
    looked_for = folder / stem
    raise FileNotFoundError(
        f"Found no images: neither {looked_for}.parquet nor {looked_for}.npz nor the folder "
        f"{looked_for}/ with one folder for each class."
    )


def _npz(path: Path) -> Part:
    arrays = _arrays(path)
    if not {"x", "y"} <= arrays.keys():
        raise ValueError(f"{path} needs the arrays x and y, and has {', '.join(arrays)}.")
    x, y = _height_width_channels(arrays["x"], path), arrays["y"]
    names = [str(name) for name in arrays.get("names", np.array([])).ravel()]
    if y.ndim != 1:
        raise ValueError(
            f"y of {path} must be class indices, one for each image, shape (N,); got shape "
            f"{y.shape}."
        )
    if len(x) != len(y):
        raise ValueError(f"{path} has {len(x)} images in x and {len(y)} labels in y.")
    labels = class_indices(y, f"y of {path}")
    return Part(str(path), labels, names, lambda indices: x[indices])


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays x, y and names of a file, those that are there."""
    try:
        with np.load(path) as file:
            if not isinstance(file, NpzFile):
                raise ValueError("it holds a single array")
            wanted = [name for name in ("x", "y", "names") if name in file.files]
            return {name: file[name] for name in wanted}
    except MemoryError:
        raise
    # A damaged archive can fail in each of the layers that read it, with errors of their own.
    except Exception as error:
        raise ValueError(
            f"{path} is truncated or not a file of np.savez, or holds objects, such as texts of "
            f"dtype object, instead of numbers ({error})."
        ) from error


def _height_width_channels(x: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    given = x.shape
    if x.ndim == 3:
        x = x[..., None]
    elif x.ndim == 4 and x.shape[3] not in (1, 3):
        x = np.moveaxis(x, 1, -1)
    if x.ndim != 4 or x.shape[3] not in (1, 3) or 0 in x.shape[1:]:
        raise ValueError(
            f"x of {path} must have shape (N, H, W), (N, H, W, C) or (N, C, H, W), with C 1 or 3 "
            f"and at least one pixel; got {given}."
        )
    floats = np.issubdtype(x.dtype, np.floating)
    if x.dtype != np.uint8 and not (floats and (not len(x) or (x.min() >= 0 and x.max() <= 1))):
        raise ValueError(
            f"x of {path} must be uint8, or floats from 0 to 1; got {x.dtype}"
            + (f" from {x.min():g} to {x.max():g}." if x.size and x.dtype.kind in "biuf" else ".")
        )
    return x


def _image_folder(path: Path) -> Part:
    folders = sorted(
        (entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith(".")),
        key=lambda entry: entry.name,
    )
    found: list[tuple[Path, int]] = []
    skipped = [entry for entry in path.iterdir() if entry not in folders]
    for label, folder in enumerate(folders):
        for entry in sorted(folder.iterdir()):
            if _is_image(entry):
                found.append((entry, label))
            else:
                skipped.append(entry)
    if skipped:
        _warn(path, skipped, len(found))
    names = [folder.name for folder in folders]
    _warn_of_numbers(path, names)
    # They are sorted by class: the first ones would be of one class only.
    order = np.random.default_rng(0).permutation(len(found))
    files = [found[i][0] for i in order]
    labels = np.array([found[i][1] for i in order], np.int64)
    return Part(
        str(path), labels, names, lambda indices: [decode(files[i], str(files[i])) for i in indices]
    )


def _is_image(entry: Path) -> bool:
    hidden = entry.name.startswith(".")
    # A link to a file that is missing counts: reading it will say so.
    return entry.suffix.lower() in SUFFIXES and not hidden and not entry.is_dir()


def _warn(path: Path, skipped: list[Path], images: int) -> None:
    first = sorted(skipped)[0].relative_to(path)
    warn(
        f"{path}: skipped {len(skipped)} of its entries, such as {first}, and read {images} images "
        f"({', '.join(SUFFIXES)} in one folder for each class)."
    )


def _warn_of_numbers(path: Path, names: list[str]) -> None:
    """Warn if folders are named by numbers that are not those of their classes."""
    if not all(name.isdecimal() for name in names):
        return
    numbers = [int(name) for name in names]
    in_order = sorted(numbers)
    if numbers != in_order:
        place = next(i for i, number in enumerate(numbers) if number != in_order[i])
        warn(
            f"{path}: classes are numbered by the order of their folders' names as texts, so that "
            f"the folder {names[place]!r} is class {place}. For the order of the numbers, give "
            "all names as many digits: 02 beside 10."
        )
