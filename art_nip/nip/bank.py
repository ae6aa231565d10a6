"""The bank of NIP candidates [6]: what is stored of each benign image, and the file it is kept in.

A file is one safetensors file: arrays that are memory-mapped when opened, and JSON metadata.
Nothing in it is ever executed.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from art_nip.utils.arrays import Array, namespace
from art_nip.utils.files import reading, write_arrays

FORMAT = "art-nip candidates"
FORMAT_VERSION = 2
READABLE_VERSIONS = ("1", "2")  # 1 had no choice of retrieval
LEARNED = "retrieval."
DTYPES = ("float32", "float16", "uint8")


@dataclass(frozen=True)
class CandidateBank:
    """The candidates of M benign images, in the order in which these were given.

    :param similarities: δ of each, float32, shape (M,).
    :param labels: the class of each, int64, shape (M,).
    :param codes: ρ̂ of each as it is stored, shape (M, *input_shape), one of `DTYPES`.
    :param lows: smallest value of each ρ̂, float32, shape (M,); what code 0 of uint8 stands for.
    """

    similarities: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    codes: npt.NDArray[Any]
    lows: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.codes.shape[1:]))
        return f"CandidateBank({len(self):,} candidates of {shape}, {self.codes.dtype})"

    @property
    def perturbations(self) -> npt.NDArray[np.float32]:
        """The inverse perturbations ρ̂, divided by their range, float32, shape (M, *input_shape).

        All of them, decoded anew at each access.
        """
        decoded: npt.NDArray[np.float32] = decode(self.codes, self.lows)
        return decoded

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return sum(array.nbytes for array in vars(self).values())

    def reader(
        self, rows: Callable[[npt.NDArray[Any]], Callable[[Array], Array]]
    ) -> Callable[[Array], Array]:
        """Return the function from indices, on some device, to the ρ̂ of these candidates there.

        :param rows: gives for an array the function from indices to its rows there.
        """
        codes, lows = rows(self.codes), rows(self.lows)
        return lambda indices: decode(codes(indices), lows(indices))


class Fitted(NamedTuple):
    """All that fitting finds out.

    :param template: the neuron template T, float32, shape (n,).
    :param bank: the candidates.
    :param learned: what the retrieval keeps of them beside the bank, arrays by name.
    """

    template: npt.NDArray[np.float32]
    bank: CandidateBank
    learned: Mapping[str, npt.NDArray[Any]]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays under the names that they have in a file."""
        learned = {LEARNED + name: array for name, array in self.learned.items()}
        return {"template": self.template, **vars(self.bank), **learned}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "Fitted":
        """Return what has these arrays under those names."""
        learned = {
            name.removeprefix(LEARNED): arrays[name] for name in arrays if name.startswith(LEARNED)
        }
        bank = CandidateBank(**{field.name: arrays[field.name] for field in fields(CandidateBank)})
        return cls(arrays["template"], bank, learned)


def encode(perturbation: Array, dtype: str) -> tuple[Array, Array]:
    """Return the codes of perturbations ρ̂ of range 1, and the smallest value of each.

    uint8 counts steps of 1/255 from the smallest value: an error of at most 1/510, so at most
    mean(x)/510 in an image that is defended with it.

    :param perturbation: ρ̂, float32, shape (N, *input_shape).
    :param dtype: one of `DTYPES`.
    """
    xp = namespace(perturbation)
    low = xp.min(perturbation, axis=tuple(range(1, len(perturbation.shape))))
    if dtype == "uint8":
        steps = 255 * (perturbation - _per_image(low, perturbation))
        return xp.astype(xp.round(steps), xp.uint8), low
    return (perturbation if dtype == "float32" else xp.astype(perturbation, xp.float16)), low


def decode(codes: Array, lows: Array) -> Array:
    """Return perturbations ρ̂, float32, from their codes.

    :param codes: as `encode` made them.
    :param lows: the smallest value of each.
    """
    xp = namespace(codes)
    values = xp.astype(codes, xp.float32)
    return values / 255 + _per_image(lows, codes) if codes.dtype == xp.uint8 else values


def _per_image(values: Array, images: Array) -> Array:
    return namespace(images).reshape(values, (-1,) + (1,) * (len(images.shape) - 1))


def save(path: Path, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write arrays and metadata to one file, whole or not at all.

    :param path: the file; an existing one is replaced when the new one is complete.
    :param arrays: by name.
    :param metadata: anything that JSON can hold.
    """
    header = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "metadata": json.dumps(metadata),
    }
    write_arrays(path, arrays, header)


def load(path: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """Open a file that `save` wrote; its arrays are mapped into memory, not read.

    :param path: the file.
    :return: arrays by name, and the metadata.
    :raises FileNotFoundError: if there is none.
    :raises ValueError: if it is truncated, not a file of this package, or of another format
        version.
    """
    with reading(path, "Copy it again, or fit and save anew.") as file:
        header = file.metadata() or {}
    if header.get("format") != FORMAT:
        raise ValueError(f"{path} is a safetensors file, but holds no NIP candidates.")
    if header.get("format_version") not in READABLE_VERSIONS:
        raise ValueError(
            f"{path} has format version {header.get('format_version')}, this art-nip reads "
            f"{' and '.join(READABLE_VERSIONS)}. Use the art-nip that wrote it, or fit and save "
            "anew."
        )
    return _mapped(path), json.loads(header["metadata"])


def _mapped(path: Path) -> dict[str, npt.NDArray[Any]]:
    # safetensors has checked the header; its NumPy reader copies, so the arrays are mapped here.
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(size))
    del entries["__metadata__"]
    dtypes = {"F32": np.float32, "F16": np.float16, "U8": np.uint8, "I64": np.int64}
    return {
        name: np.memmap(
            path,
            dtype=dtypes[entry["dtype"]],
            # Copy-on-write: PyTorch wants arrays that it could write to, and the file never
            # changes.
            mode="c",
            offset=8 + size + entry["data_offsets"][0],
            shape=tuple(entry["shape"]),
        )
        for name, entry in entries.items()
    }
