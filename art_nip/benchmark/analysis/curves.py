"""How accuracy falls with ε, from attacks that look for the nearest adversarial example.

Such an attack has no ε. Of each image it leaves the norm at which it succeeded, and so one run says
what would be left at any ε: the share of the images whose nearest example is further away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from art_nip.benchmark.analysis.results import GridResults
from art_nip.benchmark.execution.draws import drawn, wrong_in_any
from art_nip.benchmark.plan.grid import Cell
from art_nip.benchmark.schema.words import BENIGN, Norm, Protocol, Threat
from art_nip.metrics import Proportion

SIZES = {
    Norm.LINF: tuple(2**power / 255 for power in range(8)),
    Norm.L2: tuple(2**power / 8 for power in range(8)),
}
"""The ε at which accuracy is said, of images in [0, 1]."""


@dataclass(frozen=True)
class Point:
    """The accuracy that attacks without an ε leave at some ε.

    :param eps: ε, of images in [0, 1].
    :param norm: the norm that it is in.
    :param rate: the share of the images that are right, unattacked and at this ε.
    """

    defence: str
    protocol: Protocol
    eps: float
    norm: Norm
    rate: Proportion


def curves(results: GridResults) -> Iterator[Point]:
    """Yield the points of each defence and protocol that an attack without an ε went through.

    They are over the images that all of these attacks have met. Each image falls to the nearest
    example that any of them has found, whatever norm it had looked in; where a defence is random,
    one wrong draw is enough.
    """
    grid = results.grid
    groups: dict[tuple[str, Protocol], list[Cell]] = {}
    benign: dict[tuple[str, Protocol], Cell] = {}
    for cell in grid.cells:
        if cell.threat == Threat.ADAPTIVE:
            key = cell.defence, cell.protocol
            if cell.attack == BENIGN:
                benign[key] = cell
            elif np.isnan(grid.attacks[cell.attack].eps):
                groups.setdefault(key, []).append(cell)
    for (defence, protocol), cells in groups.items():
        for norm, nearest in _nearest(results, cells, benign[defence, protocol]).items():
            for eps in SIZES[norm]:
                yield Point(defence, protocol, eps, norm, Proportion.of(nearest > eps))


def _nearest(
    results: GridResults, cells: list[Cell], unattacked: Cell
) -> dict[Norm, npt.NDArray[np.float64]]:
    """Return by norm the size at which each image falls: 0 if it is wrong unattacked, or ∞."""
    there = [
        (crafted, predictions)
        for cell in cells
        if (crafted := results.crafted(cell)) is not None
        and (predictions := results.predictions(cell)) is not None
        and not predictions.error
    ]
    benign = results.predictions(unattacked)
    if not there or benign is None or benign.error:
        return {}
    n = min(len(crafted.l2) for crafted, _ in there)
    y = results.grid.y[:n]
    wrong = wrong_in_any(drawn(benign)[:n], y)
    found = {norm: np.where(wrong, 0, np.inf) for norm in Norm}
    for crafted, predictions in there:
        fooled = wrong_in_any(drawn(predictions)[:n], y)
        for norm, sizes in ((Norm.LINF, crafted.linf), (Norm.L2, crafted.l2)):
            found[norm] = np.minimum(found[norm], np.where(fooled, sizes[:n], np.inf))
    return found
