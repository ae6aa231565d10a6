"""The rows of `table.csv`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields

from art_nip.benchmark.schema.words import Protocol, Threat


@dataclass(frozen=True)
class Row:
    """A row of `table.csv`: a metric of a cell; see :meth:`art_nip.benchmark.Benchmark.run`."""

    attack: str
    defence: str
    protocol: str
    threat: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    seconds: float
    eps: float
    error: str
    norm: str = ""

    @classmethod
    def from_texts(cls, cells: Mapping[str, str]) -> Row:
        """Return the row that a line of the file holds.

        :raises KeyError, TypeError, ValueError: if the line is no row.
        """
        numbers = {
            name: _number(cells[name]) for name in ("value", "low", "high", "seconds", "eps")
        }
        return cls(
            attack=cells["attack"],
            defence=cells["defence"],
            protocol=str(Protocol(cells["protocol"])),
            threat=str(Threat(cells["threat"])),
            metric=cells["metric"],
            n=int(cells["n"]),
            error=cells["error"],
            norm=cells.get("norm", ""),
            **numbers,
        )


COLUMNS = tuple(column.name for column in fields(Row))
"""Columns of the table, in order."""


def _number(text: str) -> float:
    return float(text) if text else math.nan
