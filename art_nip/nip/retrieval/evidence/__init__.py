"""The evidences, which tell the class of an image without the head that an attack went through."""

from art_nip.nip.retrieval.evidence.base import Evidence, EvidenceReader
from art_nip.nip.retrieval.evidence.estimator import EstimatorEvidence
from art_nip.nip.retrieval.evidence.graded_views import GradedViewEvidence
from art_nip.nip.retrieval.evidence.registry import EVIDENCES, chosen
from art_nip.nip.retrieval.evidence.shallow import ShallowEvidence
from art_nip.nip.retrieval.evidence.views import ViewEvidence

__all__ = [
    "EVIDENCES",
    "EstimatorEvidence",
    "Evidence",
    "EvidenceReader",
    "GradedViewEvidence",
    "ShallowEvidence",
    "ViewEvidence",
    "chosen",
]
