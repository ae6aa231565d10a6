"""How an image finds its inverse perturbation: a choice, by name or as an object."""

from typing import Any

from art_nip.nip.retrieval.base import Reader, Retrieval
from art_nip.nip.retrieval.choice import chosen_of
from art_nip.nip.retrieval.class_evidence import ClassEvidence
from art_nip.nip.retrieval.evidence import (
    EstimatorEvidence,
    Evidence,
    EvidenceReader,
    GradedViewEvidence,
    ShallowEvidence,
    ViewEvidence,
)
from art_nip.nip.retrieval.neighbour import Nearest
from art_nip.nip.retrieval.similarity import Similarity, nearest

__all__ = [
    "ClassEvidence",
    "EstimatorEvidence",
    "Evidence",
    "EvidenceReader",
    "GradedViewEvidence",
    "Nearest",
    "Reader",
    "Retrieval",
    "ShallowEvidence",
    "Similarity",
    "ViewEvidence",
    "chosen",
    "nearest",
]

RETRIEVALS: dict[str, type[Retrieval]] = {
    kind.name: kind for kind in (Similarity, Nearest, ClassEvidence)
}


def chosen(given: Any) -> Retrieval:
    """Return a retrieval as an object.

    :param given: its name, such as "nearest"; or an object, such as `Nearest(layer="features.3")`;
        or how a file spells that, `{"name": "nearest", "layer": "features.3"}`.
    :raises ValueError: if there is no such name or parameter; the message names the nearest.
    :raises TypeError: if it is none of these.
    """
    return chosen_of("retrieval", given, Retrieval, RETRIEVALS, "art_nip.nip.retrieval.Nearest()")
