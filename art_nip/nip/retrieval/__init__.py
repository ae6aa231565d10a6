"""The retrievals, which find the inverse perturbation of an image; by name or as an object."""

from art_nip.nip.retrieval.base import Reader, Retrieval
from art_nip.nip.retrieval.class_evidence import ClassEvidence
from art_nip.nip.retrieval.context import Context
from art_nip.nip.retrieval.evidence import (
    EstimatorEvidence,
    Evidence,
    EvidenceReader,
    GradedViewEvidence,
    ShallowEvidence,
    ViewEvidence,
)
from art_nip.nip.retrieval.mixed_evidence import MixedEvidence
from art_nip.nip.retrieval.neighbour import Nearest
from art_nip.nip.retrieval.registry import RETRIEVALS, chosen
from art_nip.nip.retrieval.similarity import Similarity

__all__ = [
    "RETRIEVALS",
    "ClassEvidence",
    "Context",
    "EstimatorEvidence",
    "Evidence",
    "EvidenceReader",
    "GradedViewEvidence",
    "MixedEvidence",
    "Nearest",
    "Reader",
    "Retrieval",
    "ShallowEvidence",
    "Similarity",
    "ViewEvidence",
    "chosen",
]
