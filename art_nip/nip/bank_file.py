"""The file of a fit, which consists mostly of the bank.

It is one safetensors file: arrays that are memory-mapped when opened, and JSON metadata. Nothing in
it is ever executed.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.utils.files import reading, write_arrays

FORMAT = "art-nip candidates"
FORMAT_VERSION = "4"
"""Before 3, ρ̂ was in units of the values; before 4, there were no answers of the model."""

FIT_ANEW = "Copy it again, or fit and save anew."


def save(path: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write arrays and metadata to one file, whole or not at all.

    :param path: the file; an existing one is replaced when the new one is complete.
    :param arrays: arrays by name.
    :param metadata: anything that JSON can hold.
    """
    header = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "metadata": json.dumps(metadata),
    }
    write_arrays(path, arrays, header)


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
    if header.get("format_version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {header.get('format_version')}, this art-nip reads "
            f"{FORMAT_VERSION}. Use the art-nip that wrote it, or fit and save anew."
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
    dtypes = {"F32": np.float32, "F16": np.float16, "U8": np.uint8, "I64": np.int64}
    for name, entry in entries.items():
        if entry["dtype"] not in dtypes or not np.prod(entry["shape"]):
            raise ValueError(
                f"{path} has an array {name!r} of {entry['dtype']}, shape {tuple(entry['shape'])}, "
                f"which no fit has. {FIT_ANEW}"
            )
    return {
        name: np.memmap(
            path,
            dtype=dtypes[entry["dtype"]],
            # Copy-on-write, because PyTorch needs writable arrays and the file must not change.
            mode="c",
            offset=8 + size + entry["data_offsets"][0],
            shape=tuple(entry["shape"]),
        )
        for name, entry in entries.items()
    }
