"""The errors of a run: each cause is told once, with all the cells that it left empty."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

LONGEST = 300
"""Characters of an error that are told, and that make errors alike: Keras prints whole images."""


@dataclass
class Cause:
    """An error, and the cells that it left empty.

    :param error: the beginning of the error as it was first raised; `table.csv` has all of it.
    :param cells: the defences of these cells, by attack, threat and protocol.
    """

    error: str
    cells: dict[tuple[str, str, str], list[str]] = field(default_factory=dict)

    @property
    def n(self) -> int:
        """How many cells there are."""
        return sum(map(len, self.cells.values()))

    @property
    def places(self) -> str:
        """The cells, in words."""
        return "; ".join(
            f"{attack} on {', '.join(defences)} ({threat}, {protocol})"
            for (attack, threat, protocol), defences in self.cells.items()
        )

    def __str__(self) -> str:
        return f"{self.error} ({self.n} cell{'s' * (self.n > 1)}: {self.places})"


def causes(rows: Iterable[Any]) -> list[Cause]:
    """Return the causes of the errors in a table, each cause once.

    :param rows: all rows of the table, of any type that has its columns as attributes.
    """
    found: dict[str, Cause] = {}
    for row in rows:
        if row.metric == "error":
            error = row.error if len(row.error) <= LONGEST else f"{row.error[:LONGEST]} …"
            # Addresses in memory differ between processes.
            cause = found.setdefault(re.sub(r"0x[0-9a-f]+", "", error), Cause(error))
            place = (row.attack, row.threat, row.protocol)
            cause.cells.setdefault(place, []).append(row.defence)
    return list(found.values())
