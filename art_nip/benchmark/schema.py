"""The words and records in a folder of results: a benchmark writes them, its report reads them.

Nothing here needs ART, a framework or pandas.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from enum import Enum
from typing import Any, TypeVar

FORMAT = 2
"""Format of the folder. In format 1, the protocol "leaked" was called "transductive"."""

BENIGN = "benign"
"""The attack's name in cells without an attack."""

NONE = "none"
"""The defence's name in cells without a defence."""

NEAREST = "nearest"
"""The attack's name in rows of the metric `ACCURACY_AT`: all attacks without an ε together."""

ACCURACY_AT = "accuracy_at"
"""The metric of a curve of accuracy against ε, which has a row for each ε and norm."""


class Word(str, Enum):
    """Words of tables and files; each is equal to its text, and written as it."""

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return repr(self.value)


class Protocol(Word):
    """Whether a defence that learns was fitted on other images, or on those that are attacked.

    `RELEASED` is an evaluation and no defence, so no benchmark runs it: as in the released code, an
    image receives the perturbation of its own benign version, whose class may decide the sign; see
    :class:`art_nip.paper.released.ReleasedEvaluation`.
    """

    HELD_OUT = "held-out"
    LEAKED = "leaked"
    RELEASED = "released"


OF_DEFENCES = (Protocol.HELD_OUT, Protocol.LEAKED)
"""The protocols of a benchmark."""


class Norm(Word):
    """How the size of a perturbation of an image in [0, 1] is measured."""

    LINF = "linf"
    L2 = "l2"

    @property
    def sign(self) -> str:
        """How it is written for readers."""
        return "L∞" if self is Norm.LINF else "L2"


class Threat(Word):
    """Whether attacks know of the defence."""

    OBLIVIOUS = "oblivious"
    ADAPTIVE = "adaptive"


class Kind(Word):
    """The kind of a defence: none, a classifier in place of the undefended one (`SUPPRESSING` has
    channel-wise activation suppressing), or a preprocessor in front of it.
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
    AUTOATTACK = "autoattack"
    SQUARE = "square"
    HOPSKIPJUMP = "hopskipjump"
    NOISE = "noise"
    TRANSFER = "transfer"
    TRANSFER_STEERED = "transfer, steered"
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

    :param label: its label in tables.
    :param name: the name of a named attack, else the class.
    :param parameters: its parameters, as JSON can hold them.
    :param limit: how many images are attacked; None for all.
    :param suite: the label of the adaptive suite that it belongs to; "" for none.
    :param eps: its ε; None where it has none.
    :param norm: the norm that this ε is in; "" where it has none, or in another than `Norm`.
    """

    label: str
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)
    limit: int | None = None
    suite: str = ""
    eps: float | None = None
    norm: str = ""


@dataclass(frozen=True)
class DefenceRecord:
    """A defence of the run; fields as of :class:`AttackRecord`."""

    label: str
    name: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CellCount:
    """The number of cells that a threat and a protocol will have."""

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

    :param name: name of the benchmark.
    :param attacks: all attacks, in order.
    :param defences: all defences, in order.
    :param protocols: protocols of the run.
    :param threats: threats of the run.
    :param cells: numbers of cells that the run will have.
    :param channels_first: whether images are (C, H, W).
    :param clip_values: (min, max), numbers or nested lists.
    :param draws: how often a random defence was asked about an image.
    :param adversarial: keys of the examples crafted without a defence, by the attack's label.
    :param data: the data set; None if nobody said.
    :param images: fingerprint of the images evaluated and their classes.
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
    data: str | None = None
    images: str | None = None
    model: str | None = None
    n_images: int | None = None
    n_bank: int | None = None
    seed: int | None = None
    draws: int | None = None
    date: str | None = None
    machine: str | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what `from_json` takes."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def from_json(cls, given: Any) -> Description:
        """Return the description that a file holds.

        :raises ValueError: if the file is of another format, or lacks an entry.
        """
        check_format(given)
        nested: dict[str, Callable[[Any], Any]] = {
            "attacks": lambda attack: record(AttackRecord, attack),
            "defences": lambda defence: record(DefenceRecord, defence),
            "protocols": Protocol,
            "threats": Threat,
            "cells": lambda cell: record(
                CellCount,
                {
                    **cell,
                    "threat": Threat(cell["threat"]),
                    "protocol": Protocol(cell["protocol"]),
                },
            ),
        }
        made = {
            name: [nested[name](item) for item in value] if name in nested else value
            for name, value in given.items()
            if name != "format"
        }
        return record(cls, made)


def check_format(given: Any) -> None:
    """Raise a ValueError unless the content of `benchmark.json` has the current `FORMAT`."""
    found = given.get("format") if isinstance(given, Mapping) else None
    if found != FORMAT:
        old = " (there, the protocol leaked was called transductive)" if found == 1 else ""
        raise ValueError(
            f"has the format {found!r}{old}, and this version of art-nip reads {FORMAT}. Use "
            "the version that wrote it, or run the benchmark again into another folder."
        )


def record(kind: type[T], given: Mapping[str, Any]) -> T:
    """Return a record made from a mapping.

    :raises ValueError: if the mapping lacks an entry, or has one too many.
    """
    known: Any = fields(kind)  # type: ignore[arg-type]
    needed = [
        entry.name
        for entry in known
        if entry.default is MISSING and entry.default_factory is MISSING
    ]
    missing = [name for name in needed if name not in given]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}.")
    unknown = given.keys() - {entry.name for entry in known}
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
