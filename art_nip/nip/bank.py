"""The bank of NIP candidates [6]: the data stored for each benign image."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from art_nip.utils.arrays import Array, namespace
from art_nip.utils.files import read_ahead

LEARNED_PREFIX = "retrieval."
"""Prefix in files of the names of arrays that a retrieval learned."""

DTYPES = ("float32", "float16", "uint8")
"""How ρ̂ can be stored."""


VALUES_AT_ONCE = 2**22
"""The number of values of a file that are checked at once."""


class Codes(Protocol):
    """Takes the ρ̂ of candidates, as they are stored, a batch at a time."""

    def append(self, codes: npt.NDArray[Any]) -> None:
        """Take some more, shape (N, *input_shape)."""

    def rows(self) -> npt.NDArray[Any]:
        """Return all of them, shape (M, *input_shape)."""


class CodesInMemory:
    """Holds the ρ̂ of candidates in an array that grows.

    :param input_shape: shape of one.
    :param dtype: how they are stored, one of `DTYPES`.
    :param most: the largest number that may come; None if it is not known.
    """

    def __init__(self, input_shape: tuple[int, ...], dtype: str, most: int | None) -> None:
        # Of memory that was never written to, the system gives none.
        self._codes = np.empty((most or 0, *input_shape), dtype)
        self._size = 0

    def append(self, codes: npt.NDArray[Any]) -> None:
        """Take some more; see the base class."""
        end = self._size + len(codes)
        if end > len(self._codes):
            self._codes.resize((end + end // 4, *codes.shape[1:]), refcheck=False)
        self._codes[self._size : end] = codes
        self._size = end

    def rows(self) -> npt.NDArray[Any]:
        """Return all of them; see the base class."""
        self._codes.resize((self._size, *self._codes.shape[1:]), refcheck=False)
        return self._codes


@dataclass(frozen=True)
class CandidateBank:
    """The candidates of M benign images, in the order in which the images were given.

    :param similarities: δ of each candidate, float32, shape (M,).
    :param labels: class of each candidate, int64, shape (M,).
    :param codes: ρ̂ of each candidate as it is stored, shape (M, *input_shape), one of `DTYPES`;
        None for a retrieval that does not use them.
    :param lows: smallest value of each ρ̂, float32, shape (M,); code 0 of uint8 stands for it. None
        where `codes` are.
    """

    similarities: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    codes: npt.NDArray[Any] | None = None
    lows: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        if self.codes is None:
            return f"CandidateBank({len(self):,} images, without perturbations)"
        shape = "×".join(map(str, self.codes.shape[1:]))
        return f"CandidateBank({len(self):,} candidates of {shape}, {self.codes.dtype})"

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays that there are, by name."""
        return {name: array for name, array in vars(self).items() if array is not None}

    @property
    def perturbations(self) -> npt.NDArray[np.float32]:
        """The inverse perturbations ρ̂, divided by their range, float32, shape (M, *input_shape).

        They are decoded anew at each access.

        :raises ValueError: if there are none.
        """
        decoded: npt.NDArray[np.float32] = decode(*self._stored())
        return decoded

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return sum(array.nbytes for array in self.arrays().values())

    def reader(
        self, rows: Callable[[npt.NDArray[Any]], Callable[[Array], Array]]
    ) -> Callable[[Array], Array]:
        """Return the function from indices on a device to the ρ̂ of these candidates there.

        :param rows: takes an array, and returns the function from indices to its rows on the
            device.
        :raises ValueError: if there are none.
        """
        stored, lowest = self._stored()
        codes = rows(stored)
        # By now the device has all of them, or takes single rows.
        read_ahead(stored, wanted=False)
        if stored.dtype != np.uint8:
            return lambda indices: decode(codes(indices), None)
        lows = rows(lowest)
        return lambda indices: decode(codes(indices), lows(indices))

    def _stored(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.float32]]:
        if self.codes is None or self.lows is None:
            raise ValueError(
                "There are no inverse perturbations of candidates: the retrieval of this fit does "
                'not use them. Those of "similarity" and "nearest" do.'
            )
        return self.codes, self.lows


class Fitted(NamedTuple):
    """The result of fitting.

    :param template: the neuron template T, float32, shape (n,).
    :param bank: the candidates.
    :param learned: what the retrieval keeps of the candidates besides the bank, arrays by name.
    :param fingerprint: fingerprint of the model's weights at the fit; see
        :meth:`art_nip.estimators.base.EstimatorAdapter.fingerprint`.
    :param answers: what the model gave for made-up images at the fit; see
        :func:`art_nip.nip.partner.answers`.
    """

    template: npt.NDArray[np.float32]
    bank: CandidateBank
    learned: Mapping[str, npt.NDArray[Any]]
    fingerprint: str
    answers: npt.NDArray[np.float32]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return all arrays by their names in a file."""
        learned = {LEARNED_PREFIX + name: array for name, array in self.learned.items()}
        found = {"template": self.template, "answers": self.answers}
        return {**found, **self.bank.arrays(), **learned}

    @classmethod
    def of_arrays(
        cls,
        arrays: Mapping[str, npt.NDArray[Any]],
        *,
        fingerprint: str,
        bank_dtype: str | None,
        n_neurons: int,
        input_shape: tuple[int, ...],
        nb_classes: int,
    ) -> "Fitted":
        """Return the fit that consists of these arrays.

        :param arrays: arrays by name, as `arrays` returned them.
        :param fingerprint: fingerprint of the weights.
        :param bank_dtype: how ρ̂ is stored, one of `DTYPES`; None if the retrieval does not use it.
        :param n_neurons: number of neurons of the layer.
        :param input_shape: shape of one image.
        :param nb_classes: number of classes of the model.
        :raises ValueError: if arrays are missing, or have another shape or dtype.
        """
        names = [field.name for field in fields(CandidateBank)]
        if bank_dtype is None:
            names = ["similarities", "labels"]
        missing = {"template", "answers", *names} - set(arrays)
        if missing:
            raise ValueError(f"it has no {', '.join(sorted(missing))}")
        learned = {
            name.removeprefix(LEARNED_PREFIX): arrays[name]
            for name in arrays
            if name.startswith(LEARNED_PREFIX)
        }
        bank = CandidateBank(**{name: arrays[name] for name in names})
        kinds = [
            (arrays["template"], 1, "float32"), (arrays["answers"], 2, "float32"),
            (bank.similarities, 1, "float32"), (bank.labels, 1, "int64"),
        ]  # fmt: skip
        if bank.codes is not None and bank.lows is not None and bank_dtype is not None:
            kinds += [(bank.lows, 1, "float32"), (bank.codes, 1 + len(input_shape), bank_dtype)]
        if any(array.ndim != axes or array.dtype != dtype for array, axes, dtype in kinds):
            raise ValueError("its arrays have other axes or dtypes")
        if len({len(array) for array in bank.arrays().values()}) != 1 or not len(bank):
            raise ValueError("its arrays are not of the same candidates")
        is_of_others = bank.codes is not None and bank.codes.shape[1:] != input_shape
        if len(arrays["template"]) != n_neurons or is_of_others:
            raise ValueError("its arrays are of other neurons or other images")
        if bank.labels.min() < 0 or bank.labels.max() >= nb_classes:
            raise ValueError("its labels are of other classes")
        # The answers are not checked: they are NaN if the model never answers twice alike.
        for name in ("template", *names):
            check_finite(name, arrays[name])
        return cls(arrays["template"], bank, learned, fingerprint, arrays["answers"])


def check_finite(name: str, array: npt.NDArray[Any]) -> None:
    """Raise a ValueError if an array that is mapped from a file holds NaN or infinite values.

    :param name: name of the array, for the error.
    :param array: the array; it is read some rows at a time, and never whole in memory.
    """
    if array.dtype.kind != "f":
        return
    rows = max(1, VALUES_AT_ONCE * len(array) // array.size)
    for start in range(0, len(array), rows):
        if not np.isfinite(array[start : start + rows]).all():
            raise ValueError(f"its array {name!r} holds NaN or infinite values")


def encode(perturbation: Array, dtype: str) -> tuple[Array, Array]:
    """Return the codes of perturbations ρ̂ of range 1, and the smallest value of each.

    uint8 counts steps of 1/255 from the smallest value: an error of at most 1/510, so at most
    mean(x)/510 of the range in an image that is defended with it.

    :param perturbation: ρ̂, float32, shape (N, *input_shape).
    :param dtype: one of `DTYPES`.
    """
    xp = namespace(perturbation)
    low = xp.min(perturbation, axis=tuple(range(1, len(perturbation.shape))))
    if dtype == "uint8":
        steps = 255 * (perturbation - _per_image(low, perturbation))
        return xp.astype(xp.round(steps), xp.uint8), low
    return (perturbation if dtype == "float32" else xp.astype(perturbation, xp.float16)), low


def decode(codes: Array, lows: Array | None) -> Array:
    """Return perturbations ρ̂, float32, from their codes.

    :param codes: as `encode` made them.
    :param lows: the smallest value of each perturbation; only codes of uint8 need it.
    """
    xp = namespace(codes)
    values = xp.astype(codes, xp.float32)
    return values / 255 + _per_image(lows, codes) if codes.dtype == xp.uint8 else values


def _per_image(values: Array, images: Array) -> Array:
    return namespace(images).reshape(values, (-1,) + (1,) * (len(images.shape) - 1))
