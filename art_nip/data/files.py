"""Local image sets: a parquet file, a file of NumPy arrays, or a folder of images."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.data.images import Images, Indices, Labels, Part, Pixels, decode
from art_nip.utils.optional import require

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".ppm", ".webp")


def part(folder: Path, stem: str) -> Part:
    """Return the image set `stem` of a folder, in the first form of the three that is there.

    :raises FileNotFoundError: If none is; the message names all three.
    """
    forms: tuple[tuple[str, Callable[[Path], Part]], ...] = (
        (".parquet", _parquet),
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


def parquet(
    path: str | Path, *, limit: int | None = None, channels_first: bool = True
) -> tuple[Images, Labels, list[str]]:
    """Read a local image set in the layout of the `datasets` library.

    That is: a column `image` with encoded bytes (PNG, JPEG, …), a column `label` with class
    indices, and the label names in the schema's metadata.

    :param path: The parquet file.
    :param limit: Read the first `limit` images only, and no more of the file than they need;
        None reads all.
    :param channels_first: Whether images are (C, H, W), as PyTorch wants them, or (H, W, C).
    :return: Images, float32 in [0, 1], shape (N, C, H, W) or (N, H, W, C) where C is 1 if
        every image read is greyscale and 3 otherwise; labels, int64, shape (N,); label names, or
        the indices as text where the file has none.
    :raises FileNotFoundError: If there is no such file.
    :raises ImportError: If pyarrow or Pillow is not installed.
    :raises ValueError: If a column is missing, `limit` is not positive, there is no image, or the
        images are not all of one size.
    """
    source = _parquet(Path(path))
    return source.arrays(source.first(limit), channels_first)


def _parquet(path: Path) -> Part:
    pyarrow = require("pyarrow.parquet", to="read parquet files", install="art-nip[benchmark]")
    with pyarrow.ParquetFile(path) as file:
        schema = file.schema_arrow
        if not {"image", "label"} <= set(schema.names):
            raise ValueError(
                f"{path} needs the columns image and label, and has {', '.join(schema.names)}."
            )
        labels = file.read(columns=["label"])["label"].to_numpy().astype(np.int64)

    def read(indices: Indices) -> list[Pixels]:
        with pyarrow.ParquetFile(path) as opened:
            return _rows(opened, indices)

    return Part(str(path), labels, _label_names(schema.metadata), read)


def _rows(file: Any, indices: Indices) -> list[Pixels]:
    """Return images in the order of their indices, reading no row after the last one wanted."""
    end = int(indices.max()) + 1
    found: dict[int, Pixels] = {}
    start = 0
    for batch in file.iter_batches(batch_size=min(end, 1024), columns=["image"]):
        wanted = indices[(indices >= start) & (indices < start + batch.num_rows)]
        for index, row in zip(wanted, batch.take(wanted - start).to_pylist(), strict=True):
            found[int(index)] = decode(io.BytesIO(row["image"]["bytes"]))
        start += batch.num_rows
        if start >= end:
            break
    return [found[int(index)] for index in indices]


def _label_names(metadata: dict[bytes, bytes] | None) -> list[str]:
    features = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    for key in ("info", "features", "label"):
        features = features.get(key, {})
    names: list[str] = features.get("names", [])
    return names


def _npz(path: Path) -> Part:
    try:
        file = np.load(path)
    except (ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is truncated or not a file of np.savez ({error}).") from error
    with file:
        if not {"x", "y"} <= set(file.files):
            raise ValueError(f"{path} needs the arrays x and y, and has {', '.join(file.files)}.")
        labels = file["y"]
        names = [str(name) for name in file["names"]] if "names" in file.files else []
        x = _height_width_channels(file["x"], path)
    if len(x) != len(labels):
        raise ValueError(f"{path} has {len(x)} images in x and {len(labels)} labels in y.")
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or (labels < 0).any():
        raise ValueError(
            f"y of {path} must be class indices, whole numbers from 0 on, shape (N,); got "
            f"{labels.dtype}, shape {labels.shape}."
        )
    return Part(str(path), labels.astype(np.int64), names, lambda indices: x[indices])


def _height_width_channels(x: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    if x.ndim == 3:
        x = x[..., None]
    elif x.ndim == 4 and x.shape[3] not in (1, 3):
        x = np.moveaxis(x, 1, -1)
    if x.ndim != 4 or x.shape[3] not in (1, 3):
        raise ValueError(
            f"x of {path} must have shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3; "
            f"got {x.shape}."
        )
    floats = np.issubdtype(x.dtype, np.floating)
    if x.dtype != np.uint8 and not (floats and (not len(x) or (x.min() >= 0 and x.max() <= 1))):
        raise ValueError(
            f"x of {path} must be uint8, or floats from 0 to 1; got {x.dtype}"
            + (f" from {x.min():g} to {x.max():g}." if x.size else ".")
        )
    return x


def _image_folder(path: Path) -> Part:
    names = sorted(
        each.name for each in path.iterdir() if each.is_dir() and not each.name.startswith(".")
    )
    images = [
        (image, label)
        for label, name in enumerate(names)
        for image in sorted((path / name).iterdir())
        if image.suffix.lower() in SUFFIXES
    ]
    # They are sorted by class: the first ones would be of one class only.
    order = np.random.default_rng(0).permutation(len(images))
    files = [images[i][0] for i in order]
    labels = np.array([images[i][1] for i in order], np.int64)
    return Part(str(path), labels, names, lambda indices: [decode(files[i]) for i in indices])
