"""The results of a grid so far: each is read once, and large arrays are not kept in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from art_nip.benchmark.execution.store import Result, Store
from art_nip.benchmark.execution.tasks import NORMS
from art_nip.benchmark.plan.grid import Cell, Grid

T = TypeVar("T")


@dataclass(frozen=True)
class Crafted:
    """Facts and sizes of the adversarial examples of a cell.

    :param facts: facts of crafting them.
    :param l0: how many values of each image the perturbation changes, shape (n,).
    :param l2: L2 norm of each perturbation, in units of the range of the images, shape (n,).
    :param linf: L∞ norm of each perturbation, likewise.
    :param broken_by: of a cascade, the place of the attack that broke each image, shape (n,); see
        :class:`art_nip.benchmark.execution.cascade.Cascade`.
    """

    facts: dict[str, Any]
    l0: npt.NDArray[np.int64]
    l2: npt.NDArray[np.float64]
    linf: npt.NDArray[np.float64]
    broken_by: npt.NDArray[np.int64] | None = None


class GridResults:
    """The results of a grid that are in a store.

    :param grid: the cells.
    :param store: where their results are.
    """

    def __init__(self, grid: Grid, store: Store) -> None:
        self.grid, self.store = grid, store
        self._read: dict[tuple[str, str], Any] = {}

    def predictions(self, cell: Cell) -> Result | None:
        """Return the predictions of a cell, or the error that was raised, or None."""
        return self._once("predictions", cell.predictions, self.store.get)

    def failure(self, cell: Cell) -> str | None:
        """Return the error that crafting the examples of a cell raised, or None."""
        key = str(cell.adversarial)
        found = self._once("adversarial failures", key, self._failure)
        return None if found is None else found.error

    def crafted(self, cell: Cell) -> Crafted | None:
        """Return facts and sizes of a cell's adversarial examples; None if there are none."""
        return self._once("crafted", str(cell.adversarial), self._crafted)

    def inspection(self, key: str) -> Result | None:
        """Return the inspection of a defended classifier, or the error that was raised, or None."""
        return self._once("inspections", key, self.store.get)

    def _once(self, kind: str, key: str, read: Callable[[str, str], T]) -> T:
        if (kind, key) not in self._read:
            self._read[kind, key] = read(kind, key)
        found: T = self._read[kind, key]
        return found

    def _failure(self, kind: str, key: str) -> Result | None:
        return self.store.failure("adversarial", key)

    def _crafted(self, kind: str, key: str) -> Crafted | None:
        if not self.store.has("adversarial", key):
            return None
        found = self.store.load("adversarial", key, (*NORMS, "broken_by"))
        broken_by = found.arrays.pop("broken_by", None)
        sizes = found.arrays
        if len(sizes) < len(NORMS):  # of a run that did not keep them
            images = self.store.load("adversarial", key).arrays["x"]
            between = self.grid.x[: len(images)], images, self.grid.clip_values
            sizes = {name: norm(*between) for name, norm in NORMS.items()}
        return Crafted(found.facts, **sizes, broken_by=broken_by)
