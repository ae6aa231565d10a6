"""Fitting: one look at each benign image gives the neuron template and the candidates.

A retrieval may look at the candidates again. The memory that all this takes beside the model and
the bank does not grow with the number of images.
"""

import tempfile
from collections.abc import Iterator
from functools import cache, partial

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from art_nip.estimators.base import EstimatorAdapter, Weights
from art_nip.nip import neurons
from art_nip.nip.bank import CandidateBank, Fitted, encode
from art_nip.nip.parameters import Parameters
from art_nip.nip.template import NeuronTemplate
from art_nip.utils.arrays import Array

CHUNK = 1024
"""Images whose similarity is computed at once."""


def fit(
    adapter: EstimatorAdapter,
    parameters: Parameters,
    x: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64] | None,
) -> Fitted:
    """Return the template of all images, and the candidates and what the retrieval learns of them.

    Correctly classified images become candidates.

    :param adapter: the model.
    :param parameters: what the paper leaves open.
    :param x: benign images, shape (N, *input_shape), N at least 1.
    :param labels: class indices, shape (N,); None takes the model's predictions for right.
    :raises ValueError: if no image is classified correctly, or the template is empty.
    """
    observe = adapter.observer(_weights(parameters.k1, parameters.k2))
    template = NeuronTemplate(adapter.n_neurons)
    codes = np.empty((len(x), *adapter.input_shape), parameters.bank_dtype)
    lows = np.empty(len(x), np.float32)
    classes = np.empty(len(x), np.int64)
    kept = np.empty(len(x), np.int64)
    size = 0
    with SpilledRows(adapter.n_neurons) as middles:
        for start in tqdm(
            range(0, len(x), parameters.batch_size), "NIP fit", disable=not parameters.verbose
        ):
            batch = slice(start, start + parameters.batch_size)
            predicted, influence, perturbation = observe(adapter.tensor(x[batch]))
            is_middle = neurons.front_middle_tail(influence, parameters.fractions).middle
            code, low = encode(neurons.normalised(perturbation), parameters.bank_dtype)

            is_middle, prediction = adapter.numpy(is_middle), adapter.numpy(predicted)
            middle = adapter.numpy(influence) * is_middle
            template.add(middle, is_middle)
            correct = slice(None) if labels is None else prediction == labels[batch]
            middles.append(middle[correct])
            added = slice(size, size + len(prediction[correct]))
            codes[added] = adapter.numpy(code)[correct]
            lows[added] = adapter.numpy(low)[correct]
            classes[added] = prediction[correct]
            kept[added] = np.arange(start, start + len(prediction))[correct]
            size = added.stop
        if size == 0:
            raise ValueError(
                f"The model classifies none of the {len(x)} images as labelled; only correctly "
                "classified benign images become candidates. Check labels, image range and channel "
                "order."
            )
        fitted = (
            template.of_quorum(parameters.quorum)
            if parameters.template == "quorum"
            else template.mean()
        )
        on_device = adapter.tensor(fitted)
        similarities = [
            adapter.numpy(neurons.similarity(adapter.tensor(chunk), on_device))
            for chunk in middles.chunks()
        ]
    bank = CandidateBank(np.concatenate(similarities), classes[:size], codes[:size], lows[:size])

    def images() -> Iterator[Array]:
        for start in tqdm(
            range(0, size, parameters.batch_size),
            f"NIP fit: {parameters.retrieval.name}",
            disable=not parameters.verbose,
        ):
            yield adapter.tensor(x[kept[start : min(start + parameters.batch_size, size)]])

    learned = parameters.retrieval.learn(adapter, images, bank.labels, parameters.clip_values)
    return Fitted(fitted, bank, learned)


@cache
def _weights(k1: int, k2: int) -> Weights:
    # The same function for the same numbers, so that its graph need not be traced again.
    return partial(neurons.perturbation_weights, k1=k1, k2=k2)


class SpilledRows:
    """Rows of float32 in a temporary file: δ needs the template, the template all images.

    They are read and written, not mapped, so that fitting needs the same memory for any number of
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
        while data := self._file.read(CHUNK * self._width * 4):
            yield np.frombuffer(bytearray(data), np.float32).reshape(-1, self._width)
