"""Image sets in parquet files, in the layout of the `datasets` library."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from art_nip.data.decoding import decode
from art_nip.data.images import Images, Indices, Part, Pixels
from art_nip.data.labels import Labels, class_indices
from art_nip.utils.optional import require


def parquet(
    path: str | Path, *, limit: int | None = None, channels_first: bool = True
) -> tuple[Images, Labels, list[str]]:
    """Read a local image set in the layout of the `datasets` library.

    That is: a column `image` with encoded bytes (PNG, JPEG, …), a column `label` with class
    indices, and the label names in the schema's metadata.

    :param path: the parquet file.
    :param limit: read the first `limit` images only, and no more of the file than they need;
        None reads all.
    :param channels_first: whether images are (C, H, W), as PyTorch wants them, or (H, W, C).
    :return: images, float32 in [0, 1], shape (N, C, H, W) or (N, H, W, C) where C is 1 if
        every image read is greyscale and 3 otherwise; labels, int64, shape (N,); label names, or
        the indices as text where the file has none.
    :raises FileNotFoundError: if there is no such file.
    :raises ImportError: if pyarrow or Pillow is not installed.
    :raises OSError: if an image is damaged; the message says in which row.
    :raises ValueError: if the file is damaged, a column is missing, `limit` is not positive, there
        is no image, the images are not all of one size, a label is no class index, or an image is
        missing or can be read in several ways.
    """
    source = parquet_part(Path(path))
    return source.arrays(source.first(limit), channels_first)


def parquet_part(path: Path) -> Part:
    """Return the image set of a parquet file; see :func:`parquet`."""
    with _opened(path) as file:
        schema = file.schema_arrow
        if schema.names.count("image") != 1 or schema.names.count("label") != 1:
            raise ValueError(
                f"{path} needs the columns image and label, and has {', '.join(schema.names)}."
            )
        values = file.read(columns=["label"])["label"].to_pylist()
    names = _label_names(schema.metadata, path)
    labels = class_indices(values, str(path))
    return Part(str(path), labels, names, lambda indices: _images(path, indices))


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a parquet file, and name it in whatever error it is the cause of."""
    pyarrow = require("pyarrow.parquet", to="read parquet files", install="art-nip[benchmark]")
    arrow = require("pyarrow", to="read parquet files", install="art-nip[benchmark]")
    try:
        with pyarrow.ParquetFile(path) as file:
            yield file
    except FileNotFoundError:
        raise
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is truncated or not a parquet file ({error}).") from error


def _images(path: Path, indices: Indices) -> list[Pixels]:
    """Return images in the order of their indices, reading no row after the last one wanted."""
    end = int(indices.max()) + 1
    found: dict[int, Pixels] = {}
    start = 0
    for batch in _batches(path, min(end, 1024)):
        wanted = indices[(indices >= start) & (indices < start + batch.num_rows)]
        for index, cell in zip(wanted, batch.take(wanted - start)["image"], strict=True):
            place = f"{path}, row {index}"
            found[int(index)] = decode(io.BytesIO(_encoded(cell.as_py(), place)), place)
        start += batch.num_rows
        if start >= end:
            break
    if len(found) < len(indices):
        raise ValueError(f"{path} is damaged: it has {start} images, and labels for more.")
    return [found[int(index)] for index in indices]


def _batches(path: Path, size: int) -> Iterator[Any]:
    with _opened(path) as file:
        yield from file.iter_batches(batch_size=size, columns=["image"])


def _encoded(cell: Any, place: str) -> bytes:
    """Return the encoded image of a cell: bytes, or bytes beside a path, as `datasets` writes."""
    content = cell.get("bytes") if isinstance(cell, dict) else cell
    if isinstance(content, bytes):
        return content
    if content is None:
        elsewhere = cell.get("path") if isinstance(cell, dict) else None
        found = f"only its path, {elsewhere!r}" if elsewhere else "null"
    else:
        found = f"a value of type {type(content).__name__}"
    raise ValueError(
        f"{place}: the image is missing; there is {found}. The column image must hold the bytes of "
        "encoded images; a folder of image files can be read as it is."
    )


def _label_names(metadata: dict[bytes, bytes] | None, path: Path) -> list[str]:
    try:
        features = json.loads((metadata or {}).get(b"huggingface", b"{}"))
        for key in ("info", "features", "label"):
            features = features.get(key, {})
        names = features.get("names", [])
    # Not JSON, not text, or not of the layout of `datasets`.
    except (ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: the entry 'huggingface' of its metadata cannot be read ({error}). Write the "
            "file again, with the label names or without the entry."
        ) from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: the label names of its metadata are no list of texts: {names}.")
    return names
