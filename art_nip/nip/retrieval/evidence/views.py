"""Evidence of views: the model's own answer on the image behind preprocessors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.nip.retrieval.context import Context
from art_nip.nip.retrieval.evidence.base import Evidence, EvidenceReader
from art_nip.nip.retrieval.evidence.preprocessors import Preprocessors, check_entries
from art_nip.nip.retrieval.evidence.probabilities import log_mean, softmax
from art_nip.utils.arrays import Array


@dataclass(frozen=True)
class ViewEvidence(Evidence):
    """Consensus of the model over views of the image: mean softmax behind ART's preprocessors.

    It learns nothing and needs no early layer that tells the class, so it suits natural pictures.
    Every view costs a forward pass, and ART's NumPy preprocessors work on the host. The head that
    the attack went through does decide here, though on other images: an attack that survives every
    preprocessor survives this evidence.

    :param defences: the views: names and parameters of ART's preprocessors, such as
        `{"name": "SpatialSmoothing", "window_size": 3}`. They work on images scaled to [0, 1], and
        their `channels_first` is the model's. If a preprocessor draws random numbers, defended
        images are random.
    """

    name: ClassVar[str] = "views"
    defences: tuple[Mapping[str, Any], ...] = (
        {"name": "SpatialSmoothing", "window_size": 2},
        {"name": "JpegCompression", "quality": 75},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "defences", check_entries("defences", self.defences))

    def settled(self, context: Context) -> "ViewEvidence":
        """Return this evidence as it is; see the base class.

        :raises ValueError: if a preprocessor refuses a parameter.
        """
        Preprocessors(self.defences, context)
        return self

    def reader(self, context: Context) -> EvidenceReader:
        """Return the evidence at work; see the base class."""
        return ViewReader(context, self)


class ViewReader(EvidenceReader):
    """Evidence of views at work.

    :param context: the model, the range of the images, and what was fitted.
    :param evidence: its parameters.
    """

    def __init__(self, context: Context, evidence: ViewEvidence) -> None:
        super().__init__()
        self._looking = context.looking
        self._preprocessors = Preprocessors(evidence.defences, context)

    def log_posterior(self, x: Array, logits: Array, maps: list[Array]) -> Array:
        """Return the logarithm of the mean softmax over views; see the base class."""
        return log_mean([self._posterior(view) for view in self._views(x, logits)])

    def gradient(
        self, adapter: EstimatorAdapter, x: Array, logits: Array, classes: npt.NDArray[np.int64]
    ) -> Array:
        """Return the sum over views of the gradients of each class's lead; see the base class.

        The preprocessors count as the identity on the way back (BPDA, Athalye et al. 2018).
        """
        return sum(adapter.lead_gradient(view, classes) for view in self._views(x, logits))

    def _views(self, x: Array, logits: Array) -> Iterator[Array]:
        images = self._preprocessors.images(x)
        for place in range(len(self._preprocessors)):
            yield self._preprocessors.view(place, images)

    def _posterior(self, view: Array) -> Array:
        logits, _ = self._looking.logits_and_activations(view, ())
        return softmax(logits)
