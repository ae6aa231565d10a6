"""Fitting: one pass over the benign images gives the neuron template and the candidates.

A retrieval may read the candidates again. Besides the model and the bank, fitting takes memory that
does not grow with the number of images.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, nullcontext
from functools import cache, cached_property, partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from art_nip.data.batches import Batches
from art_nip.data.spill import Spill
from art_nip.data.wanted import Images
from art_nip.estimators.base import EstimatorAdapter, Weights
from art_nip.nip import neurons
from art_nip.nip.bank import CandidateBank, Codes, Fitted, encode
from art_nip.nip.parameters import Parameters
from art_nip.nip.partner import answers
from art_nip.nip.retrieval import Context
from art_nip.nip.template import NeuronTemplate
from art_nip.utils.arrays import Array
from art_nip.utils.warned import warn

Kind = TypeVar("Kind")


def fit(
    adapter: EstimatorAdapter,
    parameters: Parameters,
    batches: Batches,
    codes: Codes,
    folder: Path | None = None,
) -> Fitted:
    """Return the template of all images, the candidates, and what the retrieval learns from them.

    Correctly classified images become candidates.

    :param adapter: the model.
    :param parameters: the parameters of NIP.
    :param batches: benign images, in batches of the size of the parameters, and their classes; for
        images without classes the model's predictions are taken for these.
    :param codes: takes the inverse perturbations of the candidates, if the retrieval uses them.
    :param folder: where temporary files may be; None for the system's temporary folder.
    :raises ValueError: if there is no image, none is classified correctly, the model gives NaN, no
        candidate has an inverse perturbation, or the template is empty.
    """
    context = Context(adapter, parameters.clip_values, parameters.fractions)
    retrieval, fingerprint = parameters.retrieval, adapter.fingerprint()
    found = _Found(adapter, parameters, codes)
    with ExitStack() as stack:
        middles = stack.enter_context(Spill(folder))
        record = stack.enter_context(batches.record(folder) if retrieval.learns else nullcontext())
        for x, labels in _shown(batches, batches.n_images, parameters, "NIP fit"):
            middle, learned_from = found.add(adapter.tensor(x), labels, context)
            middles.append(middle)
            if record is not None:
                record.add(x, learned_from)
        found.check()
        template = found.template
        fitted = (
            template.of_quorum(parameters.quorum)
            if parameters.template == "quorum"
            else template.mean()
        )
        on_device = adapter.tensor(fitted)
        similarities = [
            adapter.numpy(neurons.similarity(adapter.tensor(rows), on_device)) for rows in middles
        ]
        bank = found.bank(np.concatenate(similarities))

        def images() -> Iterator[Array]:
            title = f"NIP fit: {retrieval.name}"
            n_images = len(found.learned_labels)
            yield from map(adapter.tensor, _shown(record or (), n_images, parameters, title))

        learned = retrieval.learn(context, images, found.learned_labels)
    known = answers(found.outputs, adapter, parameters.clip_values)
    return Fitted(fitted, bank, learned, fingerprint, known)


class _Found:
    """The results of one pass over the images."""

    def __init__(self, adapter: EstimatorAdapter, parameters: Parameters, codes: Codes) -> None:
        self._adapter, self._parameters, self._codes = adapter, parameters, codes
        self._observe = adapter.observer(_weights(parameters.k1, parameters.k2))
        self._keeps_codes = parameters.retrieval.uses_candidates
        self._lows: list[npt.NDArray[np.float32]] = []
        self._classes: list[npt.NDArray[np.int64]] = []
        self._learned: list[npt.NDArray[np.int64]] = []
        self._images = self._without_influence = 0
        self._varies = False
        self.template = NeuronTemplate(adapter.n_neurons)

    def add(
        self, x: Array, labels: npt.NDArray[np.int64] | None, context: Context
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Process a batch of images.

        :return: candidates' middle influence, and which images the retrieval learns from.
        """
        adapter = self._adapter
        code: Images | None = None
        low: npt.NDArray[np.float32] | None = None
        if self._keeps_codes or not self._varies:
            predicted, influence, code, low = self._with_codes(x, context)
        else:
            influence = adapter.influence(x)
            predicted = adapter.numpy(adapter.logits_and_activations(x, ())[0]).argmax(axis=1)
        is_middle = neurons.front_middle_tail(influence, self._parameters.fractions).middle
        is_middle, influence = adapter.numpy(is_middle), adapter.numpy(influence)
        self._check_finite(influence, low)
        self._images += len(influence)
        self._without_influence += int((~influence.any(axis=1)).sum())
        middle = influence * is_middle
        self.template.add(middle, is_middle)
        is_correct = np.ones(len(predicted), bool) if labels is None else predicted == labels
        self._classes.append(predicted[is_correct])
        learns_from = is_correct | self._parameters.retrieval.learns_from_wrong
        self._learned.append((predicted if labels is None else labels)[learns_from])
        if code is not None and low is not None:
            self._varies = self._varies or bool(code.any())
            if self._keeps_codes:
                self._codes.append(code[is_correct])
                self._lows.append(low[is_correct])
        candidates: npt.NDArray[np.float32] = middle[is_correct]
        return candidates, learns_from

    def _with_codes(
        self, x: Array, context: Context
    ) -> tuple[npt.NDArray[np.int64], Array, Images, npt.NDArray[np.float32]]:
        """Return classes, influence, and the ρ̂ of images in the form in which they are stored."""
        outputs, influence, perturbation = self._observe(x)
        normalised = neurons.normalised(context.pixels.span * perturbation)
        code, low = encode(normalised, self._parameters.bank_dtype)
        numpy = self._adapter.numpy
        return numpy(outputs).argmax(axis=1), influence, numpy(code), numpy(low)

    def outputs(self, x: Array) -> Array:
        """Return what the model gives for images, as it gave it for those of the fit."""
        return self._observe(x)[0]

    def _check_finite(
        self, influence: npt.NDArray[np.float32], low: npt.NDArray[np.float32] | None
    ) -> None:
        finite = np.isfinite(influence).all(axis=1)
        if low is not None:
            finite &= np.isfinite(low)
        wrong = int((~finite).sum())
        if wrong:
            raise ValueError(
                f"The model gives NaN or infinite values, or gradients that are, for {wrong} of "
                f"{len(influence)} benign images. Fit on images for which it does not."
            )

    def check(self) -> None:
        """Raise a ValueError if the candidates cannot defend anything; warn if they hardly can."""
        if not self._images:
            raise ValueError("fit was given no image; NIP needs benign images to learn from.")
        if not sum(len(classes) for classes in self._classes):
            raise ValueError(
                f"The model classifies none of the {self._images} images as labelled; only "
                "correctly classified benign images become candidates. Check labels, image range "
                "and channel order."
            )
        if not self._varies:
            raise ValueError(
                f"No image changes anything in layer {str(self._adapter.layer)!r}: the gradient "
                "to each, its inverse perturbation, is constant, and nothing would be defended. "
                "Name a layer through which images pass on their way to the scores, and take what "
                "has no gradient, as rounding, out of the model."
            )
        if self._without_influence:
            warn(
                f"{self._without_influence / self._images:.1%} of the benign images have no "
                f"influence in layer {str(self._adapter.layer)!r}: it is 0 in every neuron, as the "
                "model is surer of them than its numbers can tell. Their similarity δ is 0, "
                'and what is retrieved by it arbitrary. confidence="logit" does not underflow.'
            )

    @cached_property
    def learned_labels(self) -> npt.NDArray[np.int64]:
        """The classes of the images that the retrieval learns from."""
        return np.concatenate(self._learned)

    def bank(self, similarities: npt.NDArray[np.float32]) -> CandidateBank:
        """Return the candidates."""
        classes = np.concatenate(self._classes)
        if not self._keeps_codes:
            return CandidateBank(similarities, classes)
        return CandidateBank(similarities, classes, self._codes.rows(), np.concatenate(self._lows))


def _shown(
    batches: Iterable[Kind], n_images: int | None, parameters: Parameters, title: str
) -> Iterator[Kind]:
    """Return batches, with a progress bar."""
    total = None if n_images is None else math.ceil(n_images / parameters.batch_size)
    yield from tqdm(batches, title, total, disable=not parameters.verbose)


@cache
def _weights(k1: int, k2: int) -> Weights:
    # The same function is kept for the same numbers, so that its graph is not traced again.
    return partial(neurons.perturbation_weights, k1=k1, k2=k2)
