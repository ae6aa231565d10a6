"""Evidence of one view of the image, the coarser the surer the model is of its class."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.checks import check_number
from art_nip.estimators.base import EstimatorAdapter
from art_nip.namespace import Array
from art_nip.retrieval.evidence.base import EvidenceReader, lead
from art_nip.retrieval.evidence.preprocessors import Preprocessors
from art_nip.retrieval.evidence.views import ViewEvidence, ViewReader


@dataclass(frozen=True)
class GradedViewEvidence(ViewEvidence):
    """What the model says of one view of the image, the coarser the surer it is of the image.

    An attack that stops where it has crossed the boundary (DeepFool, decision-based ones) leaves
    the model unsure, and the least smoothing undoes it. One that goes on (PGD) leaves it sure, and
    outlasts that: it takes a coarse view, which would cost benign images near the boundary much,
    but costs those of which the model is sure little. So there is one forward pass for evidence.

    It learns nothing and needs no early layer that tells the class, so it suits natural pictures.
    The head that the attack went through decides after all, if on another image; and who knows of
    it can choose the view, by how far the attack goes.

    The defaults were chosen on CIFAR-10, on images that had been JPEG of quality 75 once: qualities
    near 50 and 25, whose rounding meets theirs, do much worse there.

    :param defences: the views, from the finest to the coarsest; see :class:`ViewEvidence`.
    :param leads: logits by which the model's class must be ahead of all others for each view but
        the first; at least 0, in ascending order.
    """

    name: ClassVar[str] = "graded views"
    defences: tuple[Mapping[str, Any], ...] = tuple(
        {"name": "JpegCompression", "quality": quality} for quality in (70, 30, 15)
    )
    leads: tuple[float, ...] = (4.0, 9.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "leads", _checked(self.leads, len(self.defences) - 1))

    def reader(
        self,
        adapter: EstimatorAdapter,
        learned: dict[str, npt.NDArray[Any]],
        clip_values: tuple[Any, Any],
    ) -> EvidenceReader:
        """Return the evidence at work; see the base class."""
        return _GradedReader(
            adapter, Preprocessors(self.defences, adapter, clip_values), self.leads
        )


class _GradedReader(ViewReader):
    def __init__(
        self, adapter: EstimatorAdapter, preprocessors: Preprocessors, leads: Sequence[float]
    ) -> None:
        super().__init__(adapter, preprocessors)
        self._leads = leads

    def _views(self, x: Array, logits: Array) -> Iterator[Array]:
        images, scores = self._preprocessors.images(x), self._adapter.numpy(logits)
        grades = np.searchsorted(self._leads, lead(scores, scores.argmax(axis=1)), side="right")
        view = np.empty_like(images)
        for grade in np.unique(grades):
            rows = grades == grade
            view[rows] = self._preprocessors.view(int(grade), images[rows])
        yield self._adapter.tensor(view)


def _checked(leads: Any, n: int) -> tuple[float, ...]:
    """Return leads as a tuple, or raise an error if they are not n numbers as they should be."""
    numbers = isinstance(leads, (list, tuple)) and len(leads) == n
    if numbers:
        for each in leads:
            check_number("leads", each, low=0)
    if not numbers or any(np.diff(leads) <= 0):
        raise ValueError(
            f"leads={leads!r}; give one number in ascending order for each view but the first, {n}."
        )
    return tuple(leads)
