"""The items of `checklist.json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from art_nip.benchmark.schema.mappings import from_mapping
from art_nip.benchmark.schema.words import Protocol, Status


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

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> ChecklistItem:
        """Return the item that an entry of the file holds.

        :raises KeyError, ValueError: if the entry is no item.
        """
        words = {"protocol": Protocol(given["protocol"]), "status": Status(given["status"])}
        return from_mapping(cls, {**given, **words})
