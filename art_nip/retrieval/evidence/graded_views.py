"""Evidence of one view of the image, the coarser the surer the model is of its class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.checks import check_number
from art_nip.estimators.base import EstimatorAdapter
from art_nip.namespace import Array
from art_nip.retrieval.evidence.base import Evidence, EvidenceReader, lead, log_mean, softmax
from art_nip.retrieval.evidence.preprocessors import Preprocessors, check_entries


@dataclass(frozen=True)
class GradedViewEvidence(Evidence):
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

    :param views: from the finest to the coarsest: names and parameters of ART's preprocessors, such
        as `{"name": "SpatialSmoothing", "window_size": 3}`. What `channels_first` and `clip_values`
        are follows the model. With one that draws random numbers, defended images are random.
    :param leads: logits by which the model's class must be ahead of all others for each view but
        the first; at least 0, in ascending order.
    """

    name: ClassVar[str] = "graded views"
    views: tuple[Mapping[str, Any], ...] = tuple(
        {"name": "JpegCompression", "quality": quality} for quality in (70, 30, 15)
    )
    leads: tuple[float, ...] = (4.0, 9.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "views", check_entries("views", self.views))
        object.__setattr__(self, "leads", _checked(self.leads, len(self.views) - 1))

    def settled(self, adapter: EstimatorAdapter) -> "GradedViewEvidence":
        """Return this evidence as it is; see the base class.

        :raises ValueError: if a preprocessor refuses a parameter.
        """
        Preprocessors(self.views, adapter, (0.0, 1.0))
        return self

    def reader(
        self,
        adapter: EstimatorAdapter,
        learned: dict[str, npt.NDArray[Any]],
        clip_values: tuple[Any, Any],
    ) -> EvidenceReader:
        """Return the evidence at work; see the base class."""
        return _GradedReader(adapter, Preprocessors(self.views, adapter, clip_values), self.leads)


class _GradedReader(EvidenceReader):
    def __init__(
        self, adapter: EstimatorAdapter, preprocessors: Preprocessors, leads: Sequence[float]
    ) -> None:
        super().__init__()
        self._adapter, self._preprocessors, self._leads = adapter, preprocessors, leads

    def log_posterior(self, x: Array, logits: Array, maps: list[Array]) -> Array:
        seen, _ = self._adapter.logits_and_activations(self._view(x, logits), ())
        return log_mean([softmax(seen)])

    def gradient(
        self, adapter: EstimatorAdapter, x: Array, classes: npt.NDArray[np.int64]
    ) -> Array:
        """Return the way of each class's lead in the view that its image gets; see the base class.

        The preprocessors count as the identity on the way back (BPDA, Athalye et al. 2018).
        """
        logits, _ = adapter.logits_and_activations(x, ())
        return adapter.lead_gradient(self._view(x, logits), classes)

    def _view(self, x: Array, logits: Array) -> Array:
        images, scores = self._preprocessors.images(x), self._adapter.numpy(logits)
        grades = np.searchsorted(self._leads, lead(scores, scores.argmax(axis=1)), side="right")
        view = np.empty_like(images)
        for grade in np.unique(grades):
            rows = grades == grade
            view[rows] = self._preprocessors.view(int(grade), images[rows])
        return self._adapter.tensor(view)


def _checked(leads: Any, n: int) -> tuple[float, ...]:
    """Return leads as a tuple, or raise an error if they are not n numbers as they should be."""
    given = tuple(leads) if isinstance(leads, (list, tuple)) else (leads,)
    for each in given:
        check_number("leads", each, low=0)
    if len(given) != n or any(np.diff(given) <= 0):
        raise ValueError(
            f"leads={leads!r}; give one number in ascending order for each view but the first, {n}."
        )
    return given
