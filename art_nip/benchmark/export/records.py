"""`records.jsonl`: what became of each image in each cell, for other programs.

Names are those of AttackBench (Cinà et al., 2024) where it has the same. The file is written cell
by cell.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.benchmark.analysis.results import GridResults
from art_nip.benchmark.execution.tasks import NORMS
from art_nip.benchmark.plan.grid import Cell
from art_nip.benchmark.schema.description import Description
from art_nip.benchmark.schema.words import BENIGN
from art_nip.utils.files import replacing

NAME = "records.jsonl"

FORMAT = 1
"""Format of the file."""


def write(results: GridResults, description: Description) -> None:
    """Write the file into the folder of a run, one JSON object in a line.

    `docs/how-to/share.md` says what is in them.

    :param results: the results so far; cells without results are left out.
    :param description: what was run.
    """
    with (
        replacing(results.store.folder / NAME) as path,
        open(path, "w", encoding="utf-8", newline="\n") as file,
    ):
        for record in _records(results, description):
            # JSON has no NaN, and `allow_nan` would write one that most programs refuse.
            file.write(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n")


def _records(results: GridResults, description: Description) -> Iterator[dict[str, Any]]:
    grid = results.grid
    yield {
        "record": "images",
        "format": FORMAT,
        "name": description.name,
        "data": description.data,
        "model": description.model,
        "labels": grid.y.tolist(),
        "hashes": [_digest(image) for image in grid.x],
    }
    benign = {
        (cell.defence, cell.protocol, cell.threat): cell
        for cell in grid.cells
        if cell.attack == BENIGN
    }
    for cell in grid.cells:
        record = _record(results, cell, benign[cell.defence, cell.protocol, cell.threat])
        if record is not None:
            yield record


def _record(results: GridResults, cell: Cell, unattacked: Cell) -> dict[str, Any] | None:
    """Return the record of a cell, or None if it is not computed yet.

    :param unattacked: the cell of the same defence without an attack.
    """
    where: dict[str, Any] = {
        "attack": cell.attack,
        "defence": cell.defence,
        "protocol": str(cell.protocol),
        "threat": str(cell.threat),
    }
    predictions, benign = results.predictions(cell), results.predictions(unattacked)
    error = (results.failure(cell) if cell.adversarial else None) or next(
        (result.error for result in (predictions, benign) if result and result.error), None
    )
    if error:
        return {"record": "failure", **where, "error": error}
    if predictions is None or benign is None:
        return None
    predicted = predictions.arrays["classes"]
    n = len(predicted)
    y, before = results.grid.y[:n], benign.arrays["classes"][:n]
    record: dict[str, Any] = {
        "record": "cell",
        **where,
        "n": n,
        "ori_success": (before != y).tolist(),
        "predicted": predicted.tolist(),
    }
    if "draws" in predictions.arrays:
        record["draws"] = predictions.arrays["draws"].tolist()
    if cell.attack == BENIGN:
        return record
    crafted = results.crafted(cell)
    if crafted is None:
        return None
    attack = results.grid.attacks[cell.attack]
    if crafted.broken_by is not None:
        parts = attack.against(results.grid.defences[cell.defence]).parts
        record["broken_by"] = [
            str(parts[place].role) if place >= 0 else None for place in crafted.broken_by
        ]
    return {
        **record,
        "adv_success": (predicted != y).tolist(),
        "through_defence": cell.through,
        "suite": attack.suite or None,
        "eps": _number(attack.eps),
        "norm": attack.norm or None,
        "distances": {name: _numbers(getattr(crafted, name)) for name in NORMS},
        "num_forwards": crafted.facts.get("forward"),
        "num_backwards": crafted.facts.get("backward"),
        "seconds": _number(crafted.facts["seconds"]),
    }


def _numbers(values: npt.NDArray[Any]) -> list[float | int | None]:
    if values.dtype.kind == "i":
        whole: list[float | int | None] = values.tolist()
        return whole
    return [_number(value) for value in values.tolist()]


def _number(value: float) -> float | None:
    """Return a number to six digits, or None for what is no number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _digest(image: npt.NDArray[np.float32]) -> str:
    return hashlib.sha512(np.ascontiguousarray(image).data).hexdigest()
