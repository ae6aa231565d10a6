"""Retrieval by nearest neighbour: the candidate whose neurons are most similar to the image's."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.estimators.layers import Call, Layer
from art_nip.nip.bank import LEARNED_PREFIX, check_finite
from art_nip.nip.retrieval.base import Reader, Retrieval
from art_nip.nip.retrieval.context import Context
from art_nip.nip.retrieval.early import layers_that_could_be_meant
from art_nip.nip.retrieval.learner import learned_array
from art_nip.nip.retrieval.vectors import neuron_vectors
from art_nip.utils.arrays import Array, namespace

VALUES_AT_ONCE = 2**22
"""The number of values of the candidates' vectors compared at once: 16 MiB in float32."""

VALUES_KEPT = 2**24
"""So many values of the candidates' vectors are kept in float32, 64 MiB; more of them are converted
at each call."""


@dataclass(frozen=True)
class Nearest(Retrieval):
    """The candidate with the nearest neurons: cosine of what a layer gives, see `neuron_vectors`.

    It shows where success rates near 100 % come from: an early layer recognises an image under
    every attack tried, and so gives it the inverse perturbation of its own benign version if the
    bank holds it (leaked). VGG-19 on CIFAR-10, 200 images: DSR 0.98, 0.97, 0.94 and 0.98 on FGSM
    4/255, PGD 2/255, PGD 8/255 and DeepFool, benign accuracy 0.98. With a bank of other images
    (held-out) it is 0.23, 0.35, 0.05 and 0.59 at 0.80: no better than a candidate drawn at random.
    It protects images that the defender has already, and no others.

    :param layer: "auto" for the input of the second or third convolution, whichever is smaller; or
        a dotted name, as for the `layer` of :class:`art_nip.nip.parameters.Parameters`. A candidate
        takes two bytes for each of its neurons.
    """

    name: ClassVar[str] = "nearest"
    layer: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.layer, str):
            raise TypeError(f"layer={self.layer!r}; give a layer's name, or 'auto'.")

    def settled(self, context: Context) -> "Nearest":
        """Return this retrieval with the layer that "auto" stands for; see the base class."""
        return replace(self, layer=str(context.adapter.find_layer(self.layer, early_layer)))

    def learn(
        self,
        context: Context,
        images: Callable[[], Iterator[Array]],
        labels: npt.NDArray[np.int64],
    ) -> dict[str, npt.NDArray[np.float16]]:
        """Return the candidates' `vectors`, float16, shape (M, d); see the base class."""
        see = _vectors_of(context.adapter, self.layer)
        vectors, filled = np.empty((len(labels), 0), np.float16), 0
        for batch in images():
            found = context.adapter.numpy(see(batch))
            if not filled:
                vectors = np.empty((len(labels), found.shape[1]), np.float16)
            vectors[filled : filled + len(found)] = found
            filled += len(found)
        return {"vectors": vectors}

    def check_learned(self, context: Context) -> None:
        """Check the candidates' `vectors`; see the base class."""
        see = _vectors_of(context.adapter, self.layer)
        width = see(context.adapter.tensor(np.zeros((1, *context.adapter.input_shape)))).shape[1]
        vectors = learned_array(context, "vectors", "float16", len(context.fit.bank), width)
        check_finite(f"{LEARNED_PREFIX}vectors", vectors)

    def reader(self, context: Context) -> Reader:
        """Return the retrieval at work; see the base class."""
        return _NearestReader(context, self.layer)


class _NearestReader(Reader):
    def __init__(self, context: Context, layer: str) -> None:
        super().__init__(context)
        adapter, vectors = context.adapter, context.learned["vectors"]
        if vectors.size <= VALUES_KEPT:
            stored = adapter.tensor(vectors)
            rows = len(vectors)
            self._nearest = context.looking.from_activations(
                (Layer.parse(layer),),
                lambda maps: most_similar(neuron_vectors(maps), stored, rows, lambda chunk: chunk),
            )
            return
        held, rows = adapter.held(vectors), max(1, VALUES_AT_ONCE // vectors.shape[1])
        see = _vectors_of(context.looking, layer)
        self._nearest = lambda x: most_similar(see(x), held, rows, adapter.tensor)

    def candidate(self, x: Array) -> Array:
        return self._nearest(x)


def _vectors_of(adapter: EstimatorAdapter, layer: str) -> Callable[[Array], Array]:
    return adapter.from_activations((Layer.parse(layer),), neuron_vectors)


def most_similar(
    vectors: Array, stored: Array, rows: int, tensor: Callable[[Array], Array]
) -> Array:
    """Return the index of the stored vector with the largest product; of equal ones the first.

    :param vectors: shape (N, d).
    :param stored: shape (M, d), of any dtype, on any device.
    :param rows: number of stored vectors that are on the device of `vectors` at once, in float32.
    :param tensor: function that brings some of them to that device.
    :return: integers, shape (N,).
    """
    xp = namespace(vectors)
    best = found = None
    for start in range(0, stored.shape[0], rows):
        chunk = tensor(stored[start : start + rows])
        products = xp.matmul(vectors, xp.permute_dims(chunk, (1, 0)))
        top, index = xp.max(products, axis=1), xp.argmax(products, axis=1) + start
        if best is not None:
            better = top > best
            top, index = xp.where(better, top, best), xp.where(better, index, found)
        best, found = top, index
    return found


def early_layer(calls: Sequence[Call]) -> Layer:
    """Return an early layer of few neurons that still tells an image from others.

    It is the input of the second or of the third convolution, whichever is smaller: the output of
    the first stage, or of the next stage if that shrinks it.

    :param calls: the layers in the order in which a forward pass called them.
    :raises ValueError: if there are fewer than two convolutions; the message lists the layers.
    """
    early = [call for call in calls if call.kind == "convolution"][1:3]
    if not early:
        raise ValueError(
            'layer="auto" looks for what goes into the second convolution, of those that the model '
            "calls once in a pass with a row for each image, and there is none. Name "
            f"a layer: {layers_that_could_be_meant(calls)}."
        )
    return Layer(min(early, key=lambda call: call.size).name, "input")
