"""The tasks whose results the store does not have yet.

They are given as functions that make them, by the keys of their results: a task holds images, and
not all tasks need to be in memory at once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from art_nip.benchmark.execution.store import Store
from art_nip.benchmark.execution.tasks import Classifying, Crafting, Inspecting, Task
from art_nip.benchmark.execution.workbench import ReadyDefence
from art_nip.benchmark.plan.grid import IMAGES_TO_INSPECT, Cell, Grid
from art_nip.benchmark.schema.words import Protocol

Tasks = dict[str, Callable[[], Task]]


def has_images(cell: Cell, store: Store) -> bool:
    """Return whether a store has the adversarial examples that a cell classifies, if any."""
    return cell.adversarial is None or store.has("adversarial", cell.adversarial)


def _crafting(grid: Grid, store: Store, verbose: bool) -> Tasks:
    def task(cell: Cell, key: str) -> Crafting:
        n = grid.attacked(cell.attack)
        return Crafting(
            key=key,
            attack=grid.attacks[cell.attack].against(grid.defences[cell.defence]),
            through=_ready(grid, cell.defence, cell.protocol) if cell.through else None,
            x=grid.x[:n],
            y=grid.y[:n],
            verbose=verbose,
        )

    return {
        cell.adversarial: partial(task, cell, cell.adversarial)
        for cell in grid.cells
        if cell.adversarial and not store.has("adversarial", cell.adversarial)
    }


def _classifying(grid: Grid, store: Store, verbose: bool) -> Tasks:
    def task(cell: Cell) -> Classifying:
        images = grid.x
        if cell.adversarial is not None:
            images = store.load("adversarial", cell.adversarial).arrays["x"]
        return Classifying(
            key=cell.predictions,
            defence=_ready(grid, cell.defence, cell.protocol),
            x=images,
            reference=grid.x[: len(images)],
            draws=grid.draws,
            verbose=verbose,
        )

    return {
        cell.predictions: partial(task, cell)
        for cell in grid.cells
        if not store.has("predictions", cell.predictions) and has_images(cell, store)
    }


def _inspecting(grid: Grid, store: Store, verbose: bool) -> Tasks:
    def task(key: str, defence: str, protocol: Protocol) -> Inspecting:
        return Inspecting(key, _ready(grid, defence, protocol), grid.x[:IMAGES_TO_INSPECT])

    return {
        each.key: partial(task, each.key, each.defence, each.protocol)
        for each in grid.inspected()
        if not store.has("inspections", each.key)
    }


def _ready(grid: Grid, defence: str, protocol: Protocol) -> ReadyDefence:
    entry = grid.defences[defence]
    bank = grid.banks[protocol] if entry.learns else None
    return ReadyDefence(entry, grid.defence_key(entry, protocol), bank)


MISSING: dict[str, Callable[[Grid, Store, bool], Tasks]] = {
    "crafting": _crafting,
    "classifying": _classifying,
    "inspecting": _inspecting,
}
"""The missing tasks of each kind, from a grid, a store, and whether slow tasks say how long they
take; in the order in which they are run."""
