"""The named retrievals, and the choice of one of them."""

import json
from typing import Any

from art_nip.nip.retrieval.base import Retrieval
from art_nip.nip.retrieval.choice import chosen_of
from art_nip.nip.retrieval.class_evidence import ClassEvidence
from art_nip.nip.retrieval.mixed_evidence import MixedEvidence
from art_nip.nip.retrieval.neighbour import Nearest
from art_nip.nip.retrieval.similarity import Similarity

RETRIEVALS: dict[str, type[Retrieval]] = {
    kind.name: kind for kind in (Similarity, Nearest, ClassEvidence, MixedEvidence)
}


def chosen(given: Any) -> Retrieval:
    """Return a retrieval as an object.

    :param given: a name, such as "nearest"; an object, such as `Nearest(layer="features.3")`; or
        the spelling of an object in a file, `{"name": "nearest", "layer": "features.3"}`.
    :raises ValueError: if there is no such name or parameter; the message names the nearest.
    :raises TypeError: if it is none of these.
    """
    return chosen_of("retrieval", given, Retrieval, RETRIEVALS, "art_nip.nip.retrieval.Nearest()")


def check_loadable(retrieval: Retrieval) -> None:
    """Raise a ValueError unless a retrieval can be saved to a file and loaded from it.

    :param retrieval: with all its parameters.
    """
    written = retrieval.as_dict()
    try:
        found: Retrieval | None = chosen(json.loads(json.dumps(written)))
        cause = ""
    except (TypeError, ValueError) as error:
        found, cause = None, f": {error}".rstrip(".")
    if found != retrieval:
        raise ValueError(
            f"A file cannot hold {retrieval!r}, as load could not make it{cause}. Only retrievals "
            "and evidence of art_nip with parameters that JSON can hold are saved. Keep the benign "
            "images, and fit anew; or pickle the NIPPreprocessor."
        )
