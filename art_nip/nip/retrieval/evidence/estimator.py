"""Evidence of another classifier, given by the user."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.estimators.probing import are_probabilities, check_outputs, probe_images
from art_nip.nip.retrieval.context import Context
from art_nip.nip.retrieval.evidence.base import Evidence, EvidenceReader
from art_nip.nip.retrieval.evidence.probabilities import log_mean, softmax
from art_nip.utils.arrays import Array
from art_nip.utils.ranges import same_range


@dataclass(frozen=True)
class EstimatorEvidence(Evidence):
    """What another ART classifier says of the image.

    Any classifier of the same classes and images will do, in any framework; attacks on the model
    reach it only as far as they transfer. Answering with its label would repair as much.

    A NIP with this evidence cannot be saved to a file, which holds no classifier. Save the
    classifier itself; NIP is fitted anew with it.

    :param estimator: an ART classifier that gives probabilities or logits.
    """

    name: ClassVar[str] = "estimator"
    estimator: Any = field(repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for needed in ("predict", "nb_classes", "input_shape"):
            if not hasattr(self.estimator, needed):
                raise TypeError(
                    f"EstimatorEvidence takes an ART classifier; {type(self.estimator).__name__} "
                    f"has no {needed}."
                )

    def settled(self, context: Context) -> "EstimatorEvidence":
        """Return this evidence as it is; see the base class."""
        adapter, other = context.adapter, self.estimator
        ours = adapter.nb_classes, adapter.input_shape
        theirs = other.nb_classes, tuple(other.input_shape)
        if ours != theirs:
            raise ValueError(
                f"The classifier that is to give evidence tells {theirs[0]} classes of images of "
                f"shape {theirs[1]}; the defended one {ours[0]} of {ours[1]}. They must be the "
                "same, in the same order."
            )
        clip_values = getattr(other, "clip_values", None)
        if clip_values is not None and not same_range(clip_values, context.clip_values):
            raise ValueError(
                f"The classifier that is to give evidence takes images of clip_values "
                f"{clip_values!r}; the defended one of {context.clip_values!r}. It is shown the "
                "same images: wrap its model with the same clip_values, and with the preprocessing "
                "that scales these as it needs them."
            )
        return self

    def reader(self, context: Context) -> EvidenceReader:
        """Return the evidence at work; see the base class."""
        return _EstimatorReader(context, self.estimator)

    def as_dict(self) -> dict[str, Any]:
        """Raise a ValueError: JSON cannot hold a classifier."""
        raise ValueError(
            "A NIP whose evidence is another classifier cannot be saved: the file would have to "
            "hold that classifier. Save it on its own, and fit NIP anew with "
            "EstimatorEvidence(classifier)."
        )


class _EstimatorReader(EvidenceReader):
    def __init__(self, context: Context, estimator: Any) -> None:
        super().__init__()
        self._adapter, self._estimator = context.adapter, estimator
        # Once, of made-up images: the logits of a single image may look like probabilities.
        probes = probe_images(context.adapter.input_shape, context.clip_values)
        scores = check_outputs(np.asarray(estimator.predict(probes)), context.adapter.nb_classes)
        self._gives_probabilities = are_probabilities(scores)

    def log_posterior(self, x: Array, logits: Array, maps: list[Array]) -> Array:
        outputs = np.asarray(self._estimator.predict(self._adapter.numpy(x)), np.float32)
        found = self._adapter.tensor(outputs)
        return log_mean([found if self._gives_probabilities else softmax(found)])

    def gradient(
        self, adapter: EstimatorAdapter, x: Array, logits: Array, classes: npt.NDArray[np.int64]
    ) -> Array:
        """Return the gradient down the classifier's loss, zero if it has none; see the base."""
        if not hasattr(self._estimator, "loss_gradient"):
            return x * 0
        targets = np.eye(adapter.nb_classes, dtype=np.float32)[classes]
        return -adapter.tensor(self._estimator.loss_gradient(adapter.numpy(x), targets))
