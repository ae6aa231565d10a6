"""NIP as an ART preprocessor: fit it on benign images, call it, attach it to a classifier, save it.

The body is one for all frameworks; the two classes at the end make it the kind of preprocessor that
ART chains.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor.preprocessor import (
    Preprocessor,
    PreprocessorPyTorch,
    PreprocessorTensorFlowV2,
)
from sklearn.exceptions import NotFittedError

from art_nip.estimators import clones
from art_nip.estimators.base import EstimatorAdapter, for_framework
from art_nip.nip import bank, fitting, neurons
from art_nip.nip.bank import CandidateBank, Fitted
from art_nip.nip.parameters import Parameters, check_names
from art_nip.nip.retrieval import Reader
from art_nip.nip.retrieval.similarity import similarity_to
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.validation import check_images, class_indices, numeric

Classifier = TypeVar("Classifier")

KEEP_THE_FIT = {"strength", "clip_values", "batch_size", "verbose"}
"""Parameters that can change without fitting anew."""


class NIPPreprocessor(Preprocessor, ABC):  # type: ignore[misc]
    """Neuron-level inverse perturbation (Chen et al., "NIP", 2021).

    An image finds one of the candidates that benign images have left, and receives this one's
    inverse perturbation before the model sees it. Make one with :meth:`for_estimator`.

    :param estimator: a fitted ART classifier that gives gradients; see the subclasses. Its
        `preprocessing` of (mean, std) is honoured, its preprocessing defences are not looked
        through.
    :param apply_fit: whether the defence is applied when the defended classifier is trained.
    :param apply_predict: whether the defence is applied when it predicts.
    :param parameters: see :class:`art_nip.nip.parameters.Parameters`; `clip_values` are the
        estimator's by default.
    :raises ValueError: if a parameter is not allowed, or the model has no such layer.
    :raises TypeError: if the estimator is not one that NIP can look into.
    """

    params = Parameters.names()

    def __init__(
        self,
        estimator: Any,
        *,
        apply_fit: bool = False,
        apply_predict: bool = True,
        **parameters: Any,
    ) -> None:
        super().__init__(is_fitted=False, apply_fit=apply_fit, apply_predict=apply_predict)
        check_names(parameters)
        given = Parameters(**{"clip_values": estimator.clip_values, **parameters})
        self._adapter = self._adapter_class()(estimator, given.layer, given.confidence)
        self.parameters = _settled(given, self._adapter)
        self._adopt(None)

    @staticmethod
    def for_estimator(estimator: Any, **parameters: Any) -> "NIPPreprocessor":
        """Return an unfitted NIP for an ART classifier, of the class that its framework needs.

        :param estimator: a `PyTorchClassifier`, a `TensorFlowV2Classifier`, or a `KerasClassifier`
            in eager mode.
        :param parameters: as of the class.
        :raises TypeError: if it is none of these.
        """
        kind = for_framework(estimator, "NIP", NIPPreprocessorPyTorch, NIPPreprocessorTensorFlowV2)
        return kind(estimator, **parameters)

    # Fitting

    def fit(self, x: npt.ArrayLike, y: npt.ArrayLike | None = None, **kwargs: Any) -> None:
        """Build the neuron template and the candidates from benign images (III-D, III-E).

        :param x: benign images, shape (N, *input_shape), in the range of `clip_values`, as this
            preprocessor will receive them (after the defences that come before it).
        :param y: their classes, shape (N,), or one-hot, shape (N, nb_classes); only images that the
            model classifies so become candidates. None: every image does, with the model's own
            prediction.
        :raises TypeError: if images are no numbers.
        :raises ValueError: if images or labels are not as above, none is classified correctly, or
            the template is empty.
        """
        if kwargs:
            raise TypeError(f"fit takes x and y only; it was given {', '.join(kwargs)} too.")
        x = self._checked(x)
        if len(x) == 0:
            raise ValueError("fit was given no image; NIP needs benign images to learn from.")
        labels = None if y is None else class_indices(y, len(x), self._adapter.nb_classes)
        self._adopt(fitting.fit(self._adapter, self.parameters, x, labels))

    def _adopt(self, fitted: Fitted | None) -> None:
        self._fitted = fitted
        self._is_fitted = fitted is not None
        self._reader: Reader | None = None

    # Looking inside

    @property
    def candidates(self) -> CandidateBank:
        """The candidates [6]: `similarities`, `perturbations`, `labels`."""
        return self._require_fit().bank

    @property
    def neuron_template(self) -> npt.NDArray[np.float32]:
        """T [2], shape (n,)."""
        return self._require_fit().template

    @property
    def layer_name(self) -> str:
        """The layer whose outputs are the neurons, also where `layer` is "auto"."""
        return str(self._adapter.layer)

    @property
    def n_neurons(self) -> int:
        """How many neurons the layer has, n."""
        return self._adapter.n_neurons

    def influence(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return neuron influence σ [1], float32, shape (N, n). Needs no fit.

        :param x: images, shape (N, *input_shape), in the range of `clip_values`.
        """
        return self._batched(x, self._adapter.influence, (self.n_neurons,))

    def similarity(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return δ [3] between each image's middle neurons and the template, shape (N,).

        This is the paper's δ, whichever retrieval is chosen.

        :param x: images, shape (N, *input_shape), in the range of `clip_values`.
        """
        template, fractions = self._require_fit().template, self.parameters.fractions
        return self._batched(x, similarity_to(template, self._adapter, fractions), ())

    def retrieve(self, x: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the index of the candidate that the retrieval finds, int64, shape (N,).

        -1 where it finds none, as "class" does: its perturbation is the image's own.

        :param x: images, shape (N, *input_shape), in the range of `clip_values`.
        """
        return self._batched(x, self._ready().candidate, (), np.int64)

    # Defending

    def __call__(
        self, x: npt.ArrayLike, y: Any | None = None
    ) -> tuple[npt.NDArray[np.float32], Any | None]:
        """Return the defended images [7], float32, shape of x, and y as it was.

        :param x: images, shape (N, *input_shape), in the range of `clip_values`.
        :param y: anything.
        :raises NotFittedError: if nothing was fitted.
        :raises ValueError: if images are not as above.
        """
        return self._batched(
            x, partial(self._defended, self._ready()), self._adapter.input_shape
        ), y

    def forward(self, x: Array, y: Any | None = None) -> tuple[Array, Any | None]:
        """Return the defended images as a tensor on its device; differentiable in x.

        What the retrieval finds counts as constant. Of a candidate that is the exact gradient
        almost everywhere; of an inverse perturbation of the image's own ("class") it is not.

        :param x: images, a tensor of shape (N, *input_shape).
        :param y: anything.
        :raises NotFittedError: if nothing was fitted.
        :raises ValueError: if images have another shape, or contain NaN or infinite values.
        """
        reader, size = self._ready(), self.parameters.batch_size
        x = self._adapter.tensor(x)
        # Of any range: attacks on a classifier may leave it (ART's UniversalPerturbation does).
        check_images(self._adapter.constant(x), self._adapter.input_shape, clip_values=None)
        if len(x) == 0:
            return x, y
        batches = [
            self._defended(reader, x[start : start + size]) for start in range(0, len(x), size)
        ]
        return batches[0] if len(batches) == 1 else namespace(x).concat(batches), y

    def estimate_gradient(self, x: npt.ArrayLike, grad: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the gradient to x given that to the defended images; see `forward`.

        :param x: images, shape (N, *input_shape).
        :param grad: gradients, shape of x, or (N, C, *input_shape) for one per class.
        :return: float32, shape of `grad`.
        """
        perturbations = self._batched(x, self._ready().perturbation, self._adapter.input_shape)
        gradient: npt.NDArray[np.float32] = neurons.defended_gradient(
            numeric(x),
            perturbations,
            self.parameters.strength,
            self._clip(np.float32),
            np.asarray(grad, np.float32),
        )
        return gradient

    def surrogate_losses(
        self, x: npt.ArrayLike, classes: npt.NDArray[np.int64], draws: int = 1
    ) -> list[npt.NDArray[np.float32]]:
        """Return ways to make the defended model say classes, for attacks made for NIP.

        :param x: images, shape (N, *input_shape), in the range of `clip_values`; as many as fit
            into memory at once.
        :param classes: where each is to be led, shape (N,).
        :param draws: how many candidates are drawn at random, where one is retrieved.
        :return: gradients that lead model and retrieval there, each of shape x, to be followed
            together.
        """
        images = self._adapter.tensor(self._checked(x))
        found = self._ready().surrogate_losses(images, classes, self._added, draws)
        return [self._adapter.numpy(each) for each in found]

    def _defended(self, reader: Reader, x: Array) -> Array:
        return self._added(x, reader.perturbation(x))

    def _added(self, x: Array, perturbation: Array) -> Array:
        clip = self._clip(self._adapter.tensor)
        return neurons.defended(x, perturbation, self.parameters.strength, clip)

    def _clip(self, convert: Callable[[Any], Array]) -> tuple[Array, Array]:
        low, high = self.parameters.clip_values
        return convert(low), convert(high)

    def _checked(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        images = numeric(x)
        check_images(images, self._adapter.input_shape, self.parameters.clip_values)
        return images

    def _batched(
        self,
        x: npt.ArrayLike,
        function: Callable[[Array], Array],
        shape: tuple[int, ...],
        dtype: npt.DTypeLike = np.float32,
    ) -> npt.NDArray[Any]:
        """Apply a function of tensors to images, some at a time; `shape` is that of one result."""
        images, size = self._checked(x), self.parameters.batch_size
        results = np.empty((len(images), *shape), dtype)
        for start in range(0, len(images), size):
            batch = self._adapter.tensor(images[start : start + size])
            results[start : start + size] = self._adapter.numpy(function(batch))
        return results

    def _require_fit(self) -> Fitted:
        if self._fitted is None:
            raise NotFittedError(
                "This NIPPreprocessor has no candidates yet: call fit(x_benign, y_benign), or load "
                "a saved one."
            )
        return self._fitted

    def _ready(self) -> Reader:
        """Return the retrieval at work, on the device that the model is on now."""
        fitted, device = self._require_fit(), self._adapter.device
        if self._reader is None or self._reader.device != device:
            given = self.parameters
            self._reader = given.retrieval.reader(
                self._adapter, fitted, given.fractions, given.clip_values
            )
        return self._reader

    # As a part of ART

    def set_params(self, **kwargs: Any) -> None:
        """Change parameters; all of them, or none if one is not allowed.

        The fit is kept when only `strength`, `clip_values`, `batch_size` or `verbose` change; else
        it is dropped.

        :param kwargs: see :class:`art_nip.nip.parameters.Parameters`.
        :raises ValueError: if a name or a value is not allowed.
        """
        before, after = self.parameters, self.parameters.changed(kwargs)
        adapter = self._adapter
        if (before.layer, before.confidence) != (after.layer, after.confidence):
            adapter = adapter.looking_at(after.layer, after.confidence)
        after = _settled(after, adapter)
        changed = {name for name, value in vars(after).items() if value != getattr(before, name)}
        self.parameters, self._adapter, self._reader = after, adapter, None
        if changed - KEEP_THE_FIT:
            self._adopt(None)

    def attach(self, estimator: Classifier) -> Classifier:
        """Return a new classifier with NIP behind its other preprocessing defences.

        The given one is untouched; both share the model. ART's TensorFlow classifiers cannot be
        deep-copied or pickled, defended or not: save this instead, and attach it anew.

        :param estimator: the classifier this was made for, or another ART classifier of the same
            model.
        :raises ValueError: if it has another model, or defences that ART cannot chain with this
            one.
        """
        given: Any = estimator
        if self._adapter.unwrapped(given.model) is not self._adapter.model:
            raise ValueError(
                "This NIPPreprocessor looks at another model than the classifier has. Fit one with "
                "NIPPreprocessor.for_estimator(classifier), or load a saved one with load(path, "
                "classifier)."
            )
        defended = clones.defended(given, self)
        defended.clone_for_refitting = _refuse_to_clone
        return defended  # type: ignore[no-any-return]

    def save(self, path: str | Path) -> None:
        """Save the fit to one safetensors file, whole or not at all.

        :param path: the file; an existing one is replaced.
        :raises NotFittedError: if nothing was fitted.
        """
        fitted, adapter = self._require_fit(), self._adapter
        metadata = {
            "parameters": self.parameters.as_dict(),
            "model": {
                "fingerprint": adapter.fingerprint(),
                "layer": self.layer_name,
                "n_neurons": adapter.n_neurons,
                "input_shape": adapter.input_shape,
            },
            "versions": {
                "art_nip": version("art-nip"),
                "art": version("adversarial-robustness-toolbox"),
                "framework": adapter.framework,
            },
        }
        bank.save(Path(path), fitted.arrays(), metadata)

    @staticmethod
    def load(path: str | Path, estimator: Any) -> "NIPPreprocessor":
        """Return the NIP that was saved, for a classifier with the weights that it was fitted on.

        The candidates are mapped into memory, not read. Nothing in the file is executed.

        :param path: a file written by `save`.
        :param estimator: an ART classifier.
        :raises FileNotFoundError: if there is no such file.
        :raises ValueError: if it is truncated, of another format version, or was fitted on other
            weights, another layer or another input shape; the message says which.
        """
        arrays, metadata = bank.load(Path(path))
        model = metadata["model"]
        if tuple(model["input_shape"]) != tuple(estimator.input_shape):
            raise ValueError(
                f"{path} was fitted on images of shape {tuple(model['input_shape'])}; the "
                f"classifier takes {tuple(estimator.input_shape)}. Fit anew."
            )
        fitted_layer = f"{model['layer']} with {model['n_neurons']} neurons"
        try:
            nip = NIPPreprocessor.for_estimator(estimator, **metadata["parameters"])
        except ValueError as error:
            raise ValueError(
                f"{path} was fitted on layer {fitted_layer}, and does not suit this classifier: "
                f"{error}"
            ) from error
        if nip.n_neurons != model["n_neurons"]:
            raise ValueError(
                f"{path} was fitted on layer {fitted_layer}; in this classifier it is "
                f"{nip.layer_name} with {nip.n_neurons}. Fit anew."
            )
        if nip._adapter.fingerprint() != model["fingerprint"]:
            raise ValueError(
                f"{path} was fitted on other weights than this classifier has, or with another "
                "preprocessing of mean and std. Give the classifier these, or fit anew."
            )
        nip._adopt(Fitted.of_arrays(arrays))
        return nip

    def __repr__(self) -> str:
        fitted = repr(self._fitted.bank) if self._fitted else "not fitted"
        given = ", ".join(f"{name}={value!r}" for name, value in vars(self.parameters).items())
        return f"{type(self).__name__}(layer_name={self.layer_name!r}, {given}; {fitted})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_reader": None}

    @staticmethod
    @abstractmethod
    def _adapter_class() -> type[EstimatorAdapter]: ...


class NIPPreprocessorPyTorch(NIPPreprocessor, PreprocessorPyTorch):  # type: ignore[misc]
    """NIP for an ART `PyTorchClassifier`, of any `nn.Module`; parameters as of the base class."""

    @property
    def device(self) -> Any:
        """The device that the model is on."""
        return self._adapter.device

    @staticmethod
    def _adapter_class() -> type[EstimatorAdapter]:
        from art_nip.estimators.pytorch import PyTorchAdapter

        return PyTorchAdapter


class NIPPreprocessorTensorFlowV2(NIPPreprocessor, PreprocessorTensorFlowV2):  # type: ignore[misc]
    """NIP for an ART `TensorFlowV2Classifier`, or `KerasClassifier` in eager mode."""

    @staticmethod
    def _adapter_class() -> type[EstimatorAdapter]:
        from art_nip.estimators.tensorflow import TensorFlowAdapter

        return TensorFlowAdapter


for _name in Parameters.names():
    # ART reads a preprocessor's parameters as attributes.
    setattr(NIPPreprocessor, _name, property(attrgetter(f"parameters.{_name}")))


def _settled(parameters: Parameters, adapter: EstimatorAdapter) -> Parameters:
    """Return parameters that suit the model, with the retrieval's choices for it filled in."""
    _check_part_sizes(adapter.n_neurons, parameters)
    return replace(parameters, retrieval=parameters.retrieval.settled(adapter))


def _check_part_sizes(n_neurons: int, parameters: Parameters) -> None:
    front_end, middle_end = neurons.part_ends(n_neurons, parameters.fractions)
    for name, size, part in (
        ("k1", front_end, "front"),
        ("k2", n_neurons - middle_end, "tail"),
    ):
        if getattr(parameters, name) > size:
            raise ValueError(
                f"{name}={getattr(parameters, name)}, but the {part} part has only {size} of the "
                f"layer's {n_neurons} neurons. Set {name} to at most {size}, or choose a wider "
                "layer."
            )


def _refuse_to_clone() -> Any:
    raise NotImplementedError(
        "A classifier defended by NIP cannot be cloned for refitting: its candidates belong to the "
        "weights that it has now. Clone and refit the undefended classifier, fit a NIPPreprocessor "
        "for that, and attach it."
    )
