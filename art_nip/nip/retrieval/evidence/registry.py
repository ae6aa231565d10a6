"""The named evidences, and the choice of one of them."""

from typing import Any

from art_nip.nip.retrieval.choice import chosen_of
from art_nip.nip.retrieval.evidence.base import Evidence
from art_nip.nip.retrieval.evidence.graded_views import GradedViewEvidence
from art_nip.nip.retrieval.evidence.shallow import ShallowEvidence
from art_nip.nip.retrieval.evidence.views import ViewEvidence

# EstimatorEvidence has a name of its own, but only an object can hold a classifier.
EVIDENCES: dict[str, type[Evidence]] = {
    kind.name: kind for kind in (ShallowEvidence, ViewEvidence, GradedViewEvidence)
}


def chosen(given: Any) -> Evidence:
    """Return evidence as an object.

    :param given: a name, such as "shallow"; an object, such as `ShallowEvidence(layers=…)`; or the
        spelling of an object in a file, `{"name": "shallow", "layers": […]}`.
    :raises ValueError: if there is no such name or parameter; the message names the nearest.
    :raises TypeError: if it is none of these.
    """
    return chosen_of(
        "evidence", given, Evidence, EVIDENCES, "art_nip.nip.retrieval.ShallowEvidence()"
    )
