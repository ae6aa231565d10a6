"""How an image finds its inverse perturbation: a choice, by name or as an object."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from art_nip.checks import check_choice
from art_nip.retrieval.base import Reader, Retrieval
from art_nip.retrieval.neighbour import Nearest
from art_nip.retrieval.similarity import NeuronTemplate, Similarity, nearest

__all__ = ["Nearest", "NeuronTemplate", "Reader", "Retrieval", "Similarity", "chosen", "nearest"]

RETRIEVALS: dict[str, type[Retrieval]] = {kind.name: kind for kind in (Similarity, Nearest)}


def chosen(given: Any) -> Retrieval:
    """Return a retrieval as an object.

    :param given: its name, such as "nearest"; or an object, such as `Nearest(layer="features.3")`;
        or how a file spells that, `{"name": "nearest", "layer": "features.3"}`.
    :raises ValueError: if there is no such name or parameter; the message names the nearest.
    :raises TypeError: if it is none of these.
    """
    if isinstance(given, Retrieval):
        return given
    if not isinstance(given, (str, Mapping)):
        raise TypeError(
            f"retrieval={given!r}; give a name, one of {', '.join(map(repr, RETRIEVALS))}, or an "
            "object, such as art_nip.retrieval.Nearest()."
        )
    parameters = {"name": given} if isinstance(given, str) else dict(given)
    name = parameters.pop("name", None)
    check_choice("retrieval", name, list(RETRIEVALS))
    kind = RETRIEVALS[name]
    for parameter in parameters:
        known = ["name", *(field.name for field in fields(kind))]
        check_choice(f"parameter of retrieval {name!r}", parameter, known)
    return kind(**parameters)
