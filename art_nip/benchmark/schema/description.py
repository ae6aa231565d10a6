"""The description of a run, `benchmark.json`: what was run, on what, and how."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from art_nip.benchmark.schema.mappings import from_mapping
from art_nip.benchmark.schema.words import Protocol, Threat

FORMAT = 2
"""Format of the folder. In format 1, the protocol "leaked" was called "transductive"."""


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
            "attacks": lambda attack: from_mapping(AttackRecord, attack),
            "defences": lambda defence: from_mapping(DefenceRecord, defence),
            "protocols": Protocol,
            "threats": Threat,
            "cells": lambda cell: from_mapping(
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
        return from_mapping(cls, made)


def check_format(given: Any) -> None:
    """Raise a ValueError unless the content of `benchmark.json` has the current `FORMAT`."""
    found = given.get("format") if isinstance(given, Mapping) else None
    if found != FORMAT:
        old = " (there, the protocol leaked was called transductive)" if found == 1 else ""
        raise ValueError(
            f"has the format {found!r}{old}, and this version of art-nip reads {FORMAT}. Use "
            "the version that wrote it, or run the benchmark again into another folder."
        )
