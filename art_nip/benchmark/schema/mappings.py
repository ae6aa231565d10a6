"""Records from mappings, in which no entry is missing and none is unknown."""

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

T = TypeVar("T")


def from_mapping(kind: type[T], given: Mapping[str, Any]) -> T:
    """Return a record, which is a dataclass, made from a mapping.

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
