"""Image sets of every form, written for tests to read, and what is in them."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def write_parquet(path, images, labels, names=("cat", "dog"), row_group_size=None):
    """Write images, uint8 (H, W, C) each, as the `datasets` library does."""
    column = [{"bytes": encode(image), "path": None} for image in images]
    table = pa.table({"image": column, "label": pa.array(labels, pa.int64())})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def encode(image):
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, format="png")
    return buffer.getvalue()


def write_npz(path, x, y, **more):
    np.savez(path, x=x, y=np.asarray(y), **more)


def write_folder(path, images, labels, names=("cat", "dog"), suffix=".png"):
    for name in names:
        (path / name).mkdir(parents=True)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        (path / names[label] / f"{i}{suffix}").write_bytes(encode(image))
