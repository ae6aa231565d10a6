"""Evidence of one view of the image, the coarser the surer the model is of its class."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.nip.retrieval.context import Context
from art_nip.nip.retrieval.evidence.base import EvidenceReader
from art_nip.nip.retrieval.evidence.preprocessors import Preprocessors
from art_nip.nip.retrieval.evidence.probabilities import lead
from art_nip.nip.retrieval.evidence.views import ViewEvidence, ViewReader
from art_nip.nip.retrieval.learner import learned_array
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.validation import check_number


@dataclass(frozen=True)
class GradedViewEvidence(ViewEvidence):
    """What the model says of one view of the image, the coarser the surer it is of the image.

    An attack that stops where it has crossed the boundary (DeepFool, decision-based ones) leaves
    the model unsure, and the least smoothing undoes it. One that goes on (PGD) leaves it sure, and
    outlasts that: it takes a coarse view, which would cost benign images near the boundary much,
    but costs those of which the model is sure little. So there is one forward pass for evidence.

    How sure is sure enough is learned from the benign images: for each view, the least lead of the
    model's class over all others, in logits, from which on the view turns no more of them wrong
    than the budget allows. No early layer has to tell the class, so it suits natural pictures.

    The head that the attack went through does decide here, though on another image. An attacker who
    knows of the defence can choose the view, by how far the attack goes.

    The views were chosen on CIFAR-10, on images that had been JPEG of quality 75 once: qualities
    near 50 and 25, whose rounding meets theirs, do much worse there.

    :param defences: the views, from the finest to the coarsest, at least two; see
        :class:`ViewEvidence`.
    :param budget: share of the benign images that each view but the first may turn wrong, from 0 to
        1. The fit must have some hundred images for it to mean anything.
    """

    name: ClassVar[str] = "graded views"
    defences: tuple[Mapping[str, Any], ...] = tuple(
        {"name": "JpegCompression", "quality": quality} for quality in (70, 30, 15)
    )
    budget: float = 0.0025

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.defences) < 2:
            raise ValueError(
                f"defences={self.defences!r}; give two views or more, or take ViewEvidence."
            )
        check_number("budget", self.budget, low=0, high=1)

    def learn(
        self,
        context: Context,
        images: Callable[[], Iterator[Array]],
        labels: npt.NDArray[np.int64],
    ) -> dict[str, npt.NDArray[np.float32]]:
        """Return `leads`, float32: the least lead for each view but the first."""
        adapter, preprocessors = context.adapter, Preprocessors(self.defences, context)
        coarse = range(1, len(preprocessors))
        ahead: list[npt.NDArray[np.float32]] = []
        wrong: list[npt.NDArray[np.bool_]] = []
        start = 0
        for batch in images():
            classes = labels[start : start + len(batch)]
            start += len(batch)
            logits, _ = adapter.logits_and_activations(batch, ())
            ahead.append(lead(adapter.numpy(logits), classes))
            given = preprocessors.images(batch)
            views = [preprocessors.view(place, given) for place in coarse]
            seen = [adapter.logits_and_activations(view, ())[0] for view in views]
            wrong.append(np.array([adapter.numpy(z).argmax(axis=1) != classes for z in seen]))
        leads = np.concatenate(ahead)
        allowed = self.budget * len(labels)
        least = [least_lead(leads, of_view, allowed) for of_view in np.concatenate(wrong, axis=1)]
        return {"leads": np.maximum.accumulate(np.array(least, np.float32))}

    def check_learned(self, context: Context) -> None:
        """Check `leads`: they ascend, and are infinite for views that none gets; see the base."""
        leads = learned_array(context, "leads", "float32", len(self.defences) - 1)
        if not (leads[:-1] <= leads[1:]).all() or np.isnan(leads).any():
            raise ValueError("its leads do not ascend")

    def reader(self, context: Context) -> EvidenceReader:
        """Return the evidence at work; see the base class."""
        return _GradedReader(context, self)


class _GradedReader(ViewReader):
    def __init__(self, context: Context, evidence: GradedViewEvidence) -> None:
        super().__init__(context, evidence)
        self._leads = context.learned["leads"]

    def _views(self, x: Array, logits: Array) -> Iterator[Array]:
        images, scores = self._preprocessors.images(x), self._looking.numpy(logits)
        grades = np.searchsorted(self._leads, lead(scores, scores.argmax(axis=1)), side="right")
        order, views = [], []
        for grade in np.unique(grades):
            rows = np.flatnonzero(grades == grade)
            order.append(rows)
            views.append(self._preprocessors.view(int(grade), images[rows]))
        places = self._looking.integers(np.argsort(np.concatenate(order)))
        yield namespace(x).take(namespace(x).concat(views), places, axis=0)


def least_lead(
    leads: npt.NDArray[np.float32], wrong: npt.NDArray[np.bool_], allowed: float
) -> float:
    """Return the least lead from which on no more than some images are wrong; inf if there is none.

    :param leads: lead of each image, shape (M,).
    :param wrong: which images are wrong, shape (M,).
    :param allowed: the number of wrong images allowed.
    """
    order = np.argsort(-leads, kind="stable")
    n = int(np.searchsorted(np.cumsum(wrong[order]), allowed, side="right"))
    return float(leads[order[n - 1]]) if n else np.inf
