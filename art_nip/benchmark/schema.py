"""What stands in a folder of results: the words and the records that a benchmark writes and its
report reads.

Nothing here needs ART, a framework or pandas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import Enum
from typing import Any, TypeVar

FORMAT = 2
"""Of the folder. In 1, the protocol "leaked" was called "transductive"."""

BENIGN = "benign"
"""The attack of cells without one."""

NONE = "none"
"""The defence of cells without one."""


class Word(str, Enum):
    """Words of tables and files; each is equal to its text, and written as it."""

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


class Protocol(Word):
    """Whether a defence that learns was fitted on other images, or on those that are attacked."""

    HELD_OUT = "held-out"
    LEAKED = "leaked"


class Threat(Word):
    """Whether attacks know of the defence."""

    OBLIVIOUS = "oblivious"
    ADAPTIVE = "adaptive"


class Kind(Word):
    """What a defence is: nothing, a classifier that takes the place of the first (`SUPPRESSING` has
    channel-wise activation suppressing), or what comes before it.
    """

    NONE = "none"
    TRAINED = "trained"
    SUPPRESSING = "suppressing"
    PREPROCESSOR = "preprocessor"
    NIP = "nip"


class Role(Word):
    """What an attack is for in the adaptive suite."""

    FGSM = "fgsm"
    PGD = "pgd"
    PGD_LONGER = "pgd, more"
    PGD_UNBOUNDED = "pgd, unbounded"
    APGD_CE = "apgd ce"
    APGD_DLR = "apgd dlr"
    APGD_TARGETED = "apgd targeted"
    BPDA = "bpda"
    AUXILIARY = "auxiliary"
    STEERING = "steering"
    SQUARE = "square"
    HOPSKIPJUMP = "hopskipjump"
    NOISE = "noise"
    TRANSFER = "transfer"
    TRANSFER_2 = "transfer 2ε"
    TRANSFER_4 = "transfer 4ε"


class Status(Word):
    """What became of an item of the checklist."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not run"


T = TypeVar("T")


@dataclass(frozen=True)
class AttackRecord:
    """An attack of the run.

    :param label: in tables.
    :param name: of a named attack, else its class.
    :param parameters: as JSON can hold them.
    :param limit: how many images are attacked; None for all.
    :param suite: the label of the adaptive suite that it belongs to; "" for none.
    :param eps: its ε; None where it has none.
    """

    label: str
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    suite: str = ""
    eps: float | None = None


@dataclass(frozen=True)
class DefenceRecord:
    """A defence of the run; fields as of :class:`AttackRecord`."""

    label: str
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CellCount:
    """How many cells there are to be of a threat and a protocol."""

    threat: Threat
    protocol: Protocol
    n: int


@dataclass(frozen=True)
class ChecklistItem:
    """What the checklist says of a suite through a defence.

    :param evidence: what the status rests on.
    """

    suite: str
    defence: str
    protocol: Protocol
    item: str
    status: Status
    evidence: str


@dataclass(frozen=True)
class Description:
    """What was run, `benchmark.json`.

    :param name: of the benchmark.
    :param attacks: all, in order.
    :param defences: all, in order.
    :param protocols: of the run.
    :param threats: of the run.
    :param cells: how many there are to be.
    :param channels_first: whether images are (C, H, W).
    :param clip_values: (min, max), numbers or nested lists.
    :param adversarial: by the label of an attack on no defence, the key of its examples.
    """

    name: str
    attacks: list[AttackRecord]
    defences: list[DefenceRecord]
    protocols: list[Protocol]
    threats: list[Threat]
    cells: list[CellCount]
    channels_first: bool
    clip_values: list[Any]
    adversarial: dict[str, str] = field(default_factory=dict)
    model: str | None = None
    n_images: int | None = None
    n_bank: int | None = None
    seed: int | None = None
    date: str | None = None
    machine: str | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, given: Any) -> Description:
        """Return what a file says.

        :raises ValueError: if it is of another format, or lacks something.
        """
        found = given.get("format") if isinstance(given, Mapping) else None
        if found != FORMAT:
            old = " (there, the protocol leaked was called transductive)" if found == 1 else ""
            raise ValueError(
                f"has the format {found!r}{old}, and this version of art-nip reads {FORMAT}. Use "
                "the version that wrote it, or run the benchmark again into another folder."
            )
        nested: dict[str, Callable[[Any], Any]] = {
            "attacks": lambda each: record(AttackRecord, each),
            "defences": lambda each: record(DefenceRecord, each),
            "protocols": Protocol,
            "threats": Threat,
            "cells": lambda each: record(
                CellCount,
                {
                    **each,
                    "threat": Threat(each["threat"]),
                    "protocol": Protocol(each["protocol"]),
                },
            ),
        }
        made = {
            name: [nested[name](each) for each in value] if name in nested else value
            for name, value in given.items()
            if name != "format"
        }
        return record(cls, made)


def record(kind: type[T], given: Mapping[str, Any]) -> T:
    """Return a record of a mapping.

    :raises ValueError: if the mapping lacks an entry, or has one too many.
    """
    known: Any = fields(kind)  # type: ignore[arg-type]
    needed = [
        each.name for each in known if each.default is MISSING and each.default_factory is MISSING
    ]
    missing = [name for name in needed if name not in given]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}.")
    unknown = given.keys() - {each.name for each in known}
    if unknown:
        raise ValueError(f"has {', '.join(sorted(unknown))}, which nothing here reads.")
    return kind(**given)


def checklist_item(given: Mapping[str, Any]) -> ChecklistItem:
    """Return an item of `checklist.json`."""
    words = {"protocol": Protocol(given["protocol"]), "status": Status(given["status"])}
    return record(ChecklistItem, {**given, **words})


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

    @classmethod
    def from_texts(cls, cells: Mapping[str, str]) -> Row:
        """Return the row of a line of the file.

        :raises KeyError, TypeError, ValueError: if it is none.
        """
        numbers = {
            name: _number(cells[name]) for name in ("value", "low", "high", "seconds", "eps")
        }
        return cls(
            attack=cells["attack"],
            defence=cells["defence"],
            protocol=cells["protocol"],
            threat=cells["threat"],
            metric=cells["metric"],
            n=int(cells["n"]),
            error=cells["error"],
            **numbers,
        )


COLUMNS = tuple(each.name for each in fields(Row))
"""Of the table, in order."""


def _number(text: str) -> float:
    return float(text) if text else math.nan
