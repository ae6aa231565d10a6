"""Fitting: one pass over the benign images gives the neuron template and the candidates.

A retrieval may read the candidates again. Besides the model and the bank, fitting takes memory that
does not grow with the number of images.
"""

import tempfile
import warnings
from collections.abc import Iterator
from functools import cache, partial

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from art_nip.estimators.base import EstimatorAdapter, Weights
from art_nip.nip import neurons
from art_nip.nip.bank import CandidateBank, Fitted, encode
from art_nip.nip.parameters import Parameters
from art_nip.nip.partner import answers
from art_nip.nip.retrieval import Context
from art_nip.nip.template import NeuronTemplate
from art_nip.utils.arrays import Array

ROWS_AT_ONCE = 1024
"""The number of images whose similarity is computed at once."""


def fit(
    adapter: EstimatorAdapter,
    parameters: Parameters,
    x: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64] | None,
) -> Fitted:
    """Return the template of all images, the candidates, and what the retrieval learns from them.

    Correctly classified images become candidates.

    :param adapter: the model.
    :param parameters: the parameters of NIP.
    :param x: benign images, shape (N, *input_shape), N at least 1.
    :param labels: class indices, shape (N,); None takes the model's predictions as true classes.
    :raises ValueError: if no image is classified correctly, the model gives NaN, no candidate has
        an inverse perturbation, or the template is empty.
    """
    context = Context(adapter, parameters.clip_values, parameters.fractions)
    fingerprint = adapter.fingerprint()
    found = _Found(adapter, parameters, len(x))
    with SpilledRows(adapter.n_neurons) as middles:
        for start in _batches(len(x), parameters, "NIP fit"):
            batch = slice(start, start + parameters.batch_size)
            of = None if labels is None else labels[batch]
            middles.append(found.add(start, adapter.tensor(x[batch]), of, context))
        kept = found.kept[: found.size]
        found.check()
        template = found.template
        fitted = (
            template.of_quorum(parameters.quorum)
            if parameters.template == "quorum"
            else template.mean()
        )
        on_device = adapter.tensor(fitted)
        similarities = [
            adapter.numpy(neurons.similarity(adapter.tensor(rows), on_device))
            for rows in middles.chunks()
        ]
    bank = found.bank(np.concatenate(similarities))

    def images() -> Iterator[Array]:
        for start in _batches(len(kept), parameters, f"NIP fit: {parameters.retrieval.name}"):
            yield adapter.tensor(x[kept[start : start + parameters.batch_size]])

    learned = parameters.retrieval.learn(context, images, bank.labels)
    known = answers(adapter, parameters.clip_values)
    return Fitted(fitted, bank, learned, fingerprint, known)


class _Found:
    """The results of one pass over the images, with room for as many candidates as images."""

    def __init__(self, adapter: EstimatorAdapter, parameters: Parameters, images: int) -> None:
        self._adapter, self._parameters, self._images = adapter, parameters, images
        self._observe = adapter.observer(_weights(parameters.k1, parameters.k2))
        self._codes = np.empty((images, *adapter.input_shape), parameters.bank_dtype)
        self._lows = np.empty(images, np.float32)
        self._classes = np.empty(images, np.int64)
        self._without_influence = 0
        self._varies = False
        self.template = NeuronTemplate(adapter.n_neurons)
        self.kept = np.empty(images, np.int64)
        self.size = 0

    def add(
        self, start: int, x: Array, labels: npt.NDArray[np.int64] | None, context: Context
    ) -> npt.NDArray[np.float32]:
        """Process a batch of images from index `start`; return candidates' middle influence."""
        numpy, dtype = self._adapter.numpy, self._parameters.bank_dtype
        predicted, influence, perturbation = self._observe(x)
        is_middle = neurons.front_middle_tail(influence, self._parameters.fractions).middle
        code, low = encode(neurons.normalised(context.pixels.span * perturbation), dtype)

        is_middle, prediction, influence = numpy(is_middle), numpy(predicted), numpy(influence)
        code, low = numpy(code), numpy(low)
        self._check_finite(influence, low)
        self._without_influence += int((~influence.any(axis=1)).sum())
        self._varies = self._varies or bool(code.any())
        middle = influence * is_middle
        self.template.add(middle, is_middle)
        correct = slice(None) if labels is None else prediction == labels
        added = slice(self.size, self.size + len(prediction[correct]))
        self._codes[added], self._lows[added] = code[correct], low[correct]
        self._classes[added] = prediction[correct]
        self.kept[added] = np.arange(start, start + len(prediction))[correct]
        self.size = added.stop
        candidates: npt.NDArray[np.float32] = middle[correct]
        return candidates

    def _check_finite(
        self, influence: npt.NDArray[np.float32], low: npt.NDArray[np.float32]
    ) -> None:
        wrong = int((~(np.isfinite(influence).all(axis=1) & np.isfinite(low))).sum())
        if wrong:
            raise ValueError(
                f"The model gives NaN or infinite values, or gradients that are, for {wrong} of "
                f"{len(low)} benign images. Fit on images for which it does not."
            )

    def check(self) -> None:
        """Raise a ValueError if the candidates cannot defend anything; warn if they hardly can."""
        if self.size == 0:
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
            warnings.warn(
                f"{self._without_influence / self._images:.1%} of the benign images have no "
                f"influence in layer {str(self._adapter.layer)!r}: it is 0 in every neuron, as the "
                "model is surer of them than its numbers can tell. Their similarity δ is 0, "
                'and what is retrieved by it arbitrary. confidence="logit" does not underflow.',
                stacklevel=4,
            )

    def bank(self, similarities: npt.NDArray[np.float32]) -> CandidateBank:
        """Return the candidates."""
        size = self.size
        return CandidateBank(
            similarities, self._classes[:size], self._codes[:size], self._lows[:size]
        )


def _batches(size: int, parameters: Parameters, title: str) -> Iterator[int]:
    """Return the first index of each batch of images, with a progress bar."""
    starts = range(0, size, parameters.batch_size)
    yield from tqdm(starts, title, disable=not parameters.verbose)


@cache
def _weights(k1: int, k2: int) -> Weights:
    # The same function is kept for the same numbers, so that its graph is not traced again.
    return partial(neurons.perturbation_weights, k1=k1, k2=k2)


class SpilledRows:
    """Rows of float32 in a temporary file: δ needs the template, which needs all images.

    Rows are read and written, not mapped, so that fitting needs the same memory for any number of
    images.
    """

    def __init__(self, width: int) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._width = width

    def __enter__(self) -> "SpilledRows":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, rows: npt.NDArray[np.float32]) -> None:
        """Add rows, shape (N, width)."""
        self._file.write(np.ascontiguousarray(rows, np.float32).data)

    def chunks(self) -> Iterator[npt.NDArray[np.float32]]:
        """Return all rows in order, some at a time."""
        self._file.seek(0)
        while data := self._file.read(ROWS_AT_ONCE * self._width * 4):
            yield np.frombuffer(bytearray(data), np.float32).reshape(-1, self._width)
