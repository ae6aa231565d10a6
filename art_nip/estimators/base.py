"""The seam between NIP and a framework: what an estimator must be able to tell about its neurons.

Also the part of the adapters that no framework is needed for: finding the layer, and checking that
it can be looked at.
"""

import copy
import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from art_nip.estimators.layers import Call, Layer
from art_nip.estimators.probing import are_probabilities, check_outputs, probe_images
from art_nip.estimators.standardisation import Standardisation
from art_nip.estimators.traced import Traced
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.frameworks import Framework, code_of, framework_of
from art_nip.utils.ranges import check_range_of
from art_nip.utils.validation import check_classifier

if TYPE_CHECKING:
    from typing_extensions import Self

SMALLEST = 1e-30
"""Probabilities are taken for this where a model gives less, so that they have logarithms."""

SMALLEST_FACTOR_IN_HALF = 2.0**-14
"""What probabilities in float16 are divided by at least, so that their gradients do not overflow.

The largest number of float16 is 65504.
"""

PRECISIONS = ("float32", "bfloat16", "float16")
"""The precisions in which a model can be looked at; the first is the model as it is."""

Weights = Callable[[Array], Array]
"""From influence σ, shape (N, n), to the weights w of the neurons in the loss [4], shape (N, n)."""


Kind = TypeVar("Kind")


def for_framework(
    estimator: Any, user: str, pytorch: type[Kind], tensorflow: type[Kind]
) -> type[Kind]:
    """Return the class of a preprocessor that an ART classifier's framework needs.

    :param estimator: a `PyTorchClassifier`, a `TensorFlowV2Classifier`, or a `KerasClassifier` in
        eager mode.
    :param user: what the preprocessor is called, for the error.
    :param pytorch: its class for the first.
    :param tensorflow: its class for the others.
    :raises TypeError: if it is none of these.
    """
    return pytorch if seen_in(estimator, user) == Framework.PYTORCH else tensorflow


def seen_in(estimator: Any, user: str = "NIP") -> Framework:
    """Return the framework in which an ART classifier's layers and gradients can be seen.

    :param estimator: as of :func:`for_framework`.
    :param user: who wants to see them, for the error.
    :raises TypeError: if it is none of these.
    """
    check_classifier(estimator, user)
    framework = framework_of(estimator)
    if framework is None:
        raise TypeError(
            f"{user} needs a classifier whose layers and gradients it can see, and "
            f"{type(estimator).__name__} is not one: give a PyTorchClassifier, "
            "TensorFlowV2Classifier or KerasClassifier of ART."
        )
    return framework


def adapter_for(
    estimator: Any, layer: str | None, confidence: str, user: str = "NIP"
) -> "EstimatorAdapter":
    """Return the adapter of an ART classifier's framework; parameters as of its class.

    :param user: who wants to look into the classifier, for the error.
    :raises TypeError: if the classifier is none that can be looked into.
    """
    framework = seen_in(estimator, user)
    code = code_of("art_nip.estimators", framework)
    adapter: EstimatorAdapter = getattr(code, f"{framework.label}Adapter")(
        estimator, layer, confidence
    )
    return adapter


class EstimatorAdapter(ABC):
    """What NIP needs to know of a model: its neurons' influence, and the image's way to them.

    It sees the model behind the estimator's `preprocessing`, and never the estimator's
    preprocessing defences: NIP is one of them. It leaves the model as it was. Images are tensors of
    the framework on the model's device, float32, shape (N, *input_shape), in the estimator's clip
    range.

    :param estimator: an ART classifier.
    :param layer: "auto", or a layer as `Layer` writes it; None looks at the neurons of none.
    :param confidence: "probability" or "logit": what y_c of [1] is.
    """

    framework: str
    """Name and version of the framework."""
    layer: Layer
    """The layer whose values are the neurons."""
    n_neurons: int
    """How many values it has for one image."""

    def __init__(self, estimator: Any, layer: str | None, confidence: str) -> None:
        self.model = self.unwrapped(estimator.model)
        self.input_shape: tuple[int, ...] = tuple(estimator.input_shape)
        self.nb_classes: int = estimator.nb_classes
        self.channels_first: bool = estimator.channels_first
        self._standardisation = Standardisation.of(estimator)
        if estimator.clip_values is not None:
            check_range_of(estimator.clip_values, self.input_shape)
        self._probes = probe_images(self.input_shape, estimator.clip_values)
        self._traced = self._trace(self._probes)
        self._gives_probabilities = are_probabilities(
            check_outputs(self._traced.outputs, self.nb_classes)
        )
        self._traced.check_channel_order(self.input_shape, self.channels_first)
        if layer is not None:
            self._look_at(layer, confidence)

    def looking_at(self, layer: str, confidence: str) -> "Self":
        """Return an adapter for the same model that looks at another layer, or another score."""
        other = copy.copy(self)
        other._look_at(layer, confidence)
        return other

    def in_precision(self, precision: str) -> "Self":
        """Return an adapter for the same model whose passes are in one of `PRECISIONS`.

        :raises ValueError: if the framework, the device or the model does not work in it.
        """
        return self if precision == PRECISIONS[0] else self._in_half_precision(precision)

    @abstractmethod
    def _in_half_precision(self, precision: str) -> "Self":
        """Return an adapter for the same model whose passes are in bfloat16 or float16."""

    def find_layer(self, requested: str, automatic: Callable[[Sequence[Call]], Layer]) -> Layer:
        """Return the layer of that name; for "auto" that which a rule finds among the calls.

        :param requested: "auto", or a layer as `Layer` writes it.
        :param automatic: finds a layer among the calls of layers that images reach, as a forward
            pass makes them, in order.
        :raises ValueError: if there is no such layer; the message says what there is.
        """
        if requested == "auto":
            return automatic(self._traced.reached_calls())
        return self._traced.named(requested)

    def find_layers(
        self,
        requested: Literal["auto"] | Sequence[str],
        automatic: Callable[[Sequence[Call]], tuple[Layer, ...]],
    ) -> tuple[Layer, ...]:
        """Return the layers of those names; for "auto" those which a rule finds among the calls.

        :param requested: "auto", or layers as `Layer` writes them.
        :param automatic: finds layers as that of `find_layer` finds one.
        :raises ValueError: if there is no such layer; the message says what there is.
        """
        if requested == "auto":
            return automatic(self._traced.reached_calls())
        return tuple(map(self._traced.named, requested))

    def _look_at(self, layer: str, confidence: str) -> None:
        self.layer = self._traced.of_neurons(layer)
        if self._gives_probabilities and confidence == "logit":
            raise ValueError(
                'confidence="logit" needs a model that gives logits; this one gives probabilities. '
                'Use confidence="probability", or leave the softmax out of the model.'
            )
        self._score_is_output = self._gives_probabilities or confidence == "logit"
        if self._traced.graph.connects:
            self._check_neurons()
        else:
            self.n_neurons = self._traced.value(self.layer).size

    def check_gradient(self) -> None:
        """Raise a ValueError if no gradient of the scores reaches the images."""
        if not self._traced.graph.connects:
            raise ValueError(
                "No gradient of the model's scores reaches the images, and NIP needs it: part of "
                "the model runs without gradients (under no_grad, detached, or with operations "
                "that have none)."
            )

    def _check_neurons(self) -> None:
        """Set `n_neurons`, and check that each image has neurons of its own.

        The gradient of the first image's neurons to all images says which these hang on.
        """

        def of_first(influence: Array) -> Array:
            weights = np.zeros(tuple(influence.shape))
            # Not all alike: behind a norm the sum of all neurons hangs on nothing.
            weights[0] = np.random.default_rng(0).normal(size=weights.shape[1])
            return self.tensor(weights)

        _, influence, perturbation = self._observe(self.tensor(self._probes), of_first)
        of_others = self.numpy(perturbation)[1:]
        if np.any(of_others[np.isfinite(of_others)]):
            raise ValueError(
                f"layer {str(self.layer)!r} mixes the images of a batch: what its first row holds "
                "hangs on other images too (another axis comes first, or the model works on the "
                f"whole batch). {self._traced.advice()}"
            )
        self.n_neurons = influence.shape[-1]

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what is bound to this process or this model: it is made again when needed."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_cached")}

    def identity(self) -> list[Any]:
        """Return what makes this adapter what it is; all else it has found out from these."""
        of_neurons = [getattr(self, name, None) for name in ("layer", "_score_is_output")]
        return [self.model, self.input_shape, self._standardisation, *of_neurons]

    @property
    @abstractmethod
    def device(self) -> Any:
        """The device that the model is on."""

    @staticmethod
    @abstractmethod
    def unwrapped(model: Any) -> Any:
        """Return the model that does the work, without a wrapper around it."""

    @abstractmethod
    def undisturbed(self) -> AbstractContextManager[Any]:
        """Return a context in which the caller's modes do not reach NIP's computations.

        In PyTorch neither inference mode, nor autocast, nor what is compiled: these would take the
        gradients, the precision or the layers from NIP. All methods here are in it already; what is
        computed from their results may need it too.
        """

    @abstractmethod
    def _trace(self, x: npt.NDArray[np.float32]) -> Traced:
        """Run images through the model and return what happened."""

    @abstractmethod
    def _observe(self, x: Array, weights: Weights) -> tuple[Array, Array, Array]:
        """Do what the function that `observer` returns does, uncompiled."""

    @abstractmethod
    def influence(self, x: Array) -> Array:
        """Return neuron influence σ = ∂y_c/∂φ · φ [1], shape (N, n), c the predicted class.

        One forward pass, and a backward pass through the head only. The result carries no gradient.
        """

    def from_influence(self, function: Callable[[Array], Array]) -> Callable[[Array], Array]:
        """Return the function from images to what a function makes of their influence σ [1].

        :param function: as of `compiled`.
        """
        compiled = self.compiled(function)
        return lambda x: compiled(self.influence(x))

    @abstractmethod
    def outputs(self, x: Array) -> Array:
        """Return what the model gives, as it is: float32, shape (N, nb_classes).

        One forward pass, of nothing that was compiled before. The result carries no gradient.
        """

    @abstractmethod
    def activations(self, x: Array, layers: Sequence[Layer]) -> list[Array]:
        """Return what layers give, each of shape (N, C, *places): C channels, 1 for vectors.

        One forward pass as far as the last of them; of a layer that it calls several times the
        first call. The results carry no gradient.
        """

    def from_activations(
        self, layers: Sequence[Layer], function: Callable[..., Array]
    ) -> Callable[[Array], Array]:
        """Return the function from images to what a function makes of what layers give.

        :param layers: as of `activations`.
        :param function: as of `compiled`; it takes what each layer gives.
        """
        compiled = self.compiled(function)
        return lambda x: compiled(*self.activations(x, layers))

    @abstractmethod
    def logits_and_activations(
        self, x: Array, layers: Sequence[Layer]
    ) -> tuple[Array, list[Array]]:
        """Return logits z, shape (N, nb_classes), and what layers give, as `activations` does.

        One forward pass for all. Where the model gives probabilities, z are their logarithms. The
        results carry no gradient.
        """

    @abstractmethod
    def connected(self, x: Array, layers: Sequence[Layer]) -> tuple[Array, list[Array]]:
        """Return what `logits_and_activations` does, with a gradient to the images.

        In PyTorch the results are in the graph of x, in TensorFlow on the tapes that watch it.
        """

    def outputs_of(self, logits: Array) -> Array:
        """Return what the model gives, of logits as `logits_and_activations` returns them."""
        return namespace(logits).exp(logits) if self._gives_probabilities else logits

    @abstractmethod
    def gradient(
        self, x: Array, layers: Sequence[Layer], objective: Callable[[Array, list[Array]], Array]
    ) -> Array:
        """Return the gradient to x of what hangs on logits and on what layers give, shape of x.

        :param objective: from these, as `logits_and_activations` returns them, to a number for each
            image, shape (N,). It is not compiled.
        """

    @abstractmethod
    def lead_gradient(self, x: Array, classes: npt.NDArray[np.int64]) -> Array:
        """Return ∂(z_c − max over k ≠ c of z_k)/∂x, shape of x, with c each image's of `classes`.

        One pass each way. z as in `logits_and_activations`; the result carries no gradient.
        """

    @abstractmethod
    def observer(self, weights: Weights) -> Callable[[Array], tuple[Array, Array, Array]]:
        """Return the function that sees all that fitting needs in one pass each way.

        :param weights: from σ to the w of the loss ⟨w, φ(x)⟩ [4].
        :return: a function from images to what the model gives, float32, (N, nb_classes), influence
            σ (N, n) and inverse perturbations ρ = ∂⟨w, φ(x)⟩/∂x [5], the shape of the images.
        """

    @abstractmethod
    def tensor(self, array: npt.ArrayLike) -> Array:
        """Return an array or tensor as a float32 tensor on the model's device."""

    @abstractmethod
    def integers(self, array: npt.NDArray[np.int64]) -> Array:
        """Return whole numbers as an int64 tensor on the model's device."""

    @abstractmethod
    def constant(self, tensor: Array) -> Array:
        """Return a tensor with the same values that no gradient flows back through."""

    @abstractmethod
    def numpy(self, tensor: Array) -> npt.NDArray[Any]:
        """Return a tensor as a NumPy array."""

    @abstractmethod
    def as_input(self, tensor: Array) -> Array:
        """Return float32 images in the precision in which the model takes them."""

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function of tensors in the form in which the framework runs it fastest.

        :param function: function of tensors whose first axis is that of the images; it may not
            leave the framework. The other axes are the same at each call.
        """
        return function

    @abstractmethod
    def held(self, array: npt.NDArray[Any]) -> Array:
        """Return an array on the model's device if it fits there, else on the host.

        It fits if half of what is free is enough. What is cut out of it is for `tensor`.
        """

    @abstractmethod
    def rows(self, array: npt.NDArray[Any]) -> Callable[[Array], Array]:
        """Return the function from indices to these rows of an array, on the model's device.

        The array is `held`: rows of one on the host are fetched at each call, as long as it does
        not fit on the device.
        """

    @abstractmethod
    def _weights(self) -> Iterable[npt.NDArray[Any]]:
        """Return the model's parameters and buffers in their order."""

    @abstractmethod
    def weights_mark(self) -> object:
        """Return a sign of the weights that is cheap to get, for each use.

        As long as it is equal, the weights most probably are what they were; where it is not, they
        may be: `fingerprint` tells.
        """

    def standardises_as(self, estimator: Any) -> bool:
        """Return whether an ART estimator takes images by the mean and std that this one does."""
        ours, theirs = map(self._moments, (self._standardisation, Standardisation.of(estimator)))
        return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))

    def is_of(self, estimator: Any) -> bool:
        """Return whether an ART estimator shows images to the same model in the same way.

        ART lets both be set anew on an estimator at any time.
        """
        try:
            is_same = self._is_same(self.unwrapped(estimator.model))
            return is_same and self.standardises_as(estimator)
        except TypeError:  # of a model, or a preprocessing, that no adapter can look through
            return False

    def _is_same(self, model: Any) -> bool:
        return model is self.model

    def _moments(self, given: Standardisation | None) -> list[npt.NDArray[np.float32]]:
        """Return mean and std of every value of an image, in whichever form they were given."""
        moments = (0.0, 1.0) if given is None else (given.mean, given.std)
        shape = (1, *self.input_shape)
        return [np.broadcast_to(np.asarray(each, np.float32), shape) for each in moments]

    def fingerprint(self) -> str:
        """Return the SHA-256 of the model's weights: their order, shapes, dtypes and values.

        The estimator's mean and std count as weights: they too decide what the neurons see.
        """
        digest = hashlib.sha256()
        for weight in chain(self._moments(self._standardisation), self._weights()):
            digest.update(f"{weight.shape} {weight.dtype}".encode())
            # Bytes, as bfloat16 has no buffer.
            digest.update(np.ascontiguousarray(weight).reshape(-1).view(np.uint8).data)
        return digest.hexdigest()
