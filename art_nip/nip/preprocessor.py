"""NIP as an ART preprocessor: fit it on benign images, call it, attach it to a classifier, save it.

The base class serves all frameworks; the two classes at the end make it a preprocessor that ART can
chain.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor.preprocessor import (
    Preprocessor,
    PreprocessorPyTorch,
    PreprocessorTensorFlowV2,
)
from sklearn.exceptions import NotFittedError

from art_nip.data.batches import batches_of
from art_nip.data.wanted import Wanted
from art_nip.estimators.base import adapter_for, for_framework
from art_nip.estimators.module import as_module
from art_nip.estimators.protocol import DefendableClassifier
from art_nip.nip import fitting, neurons, persistence
from art_nip.nip.attaching import attached
from art_nip.nip.bank import CandidateBank, CodesInMemory, Fitted
from art_nip.nip.defending import Defending
from art_nip.nip.on_arrays import RunsOnArrays
from art_nip.nip.parameters import Parameters, check_names, settled
from art_nip.nip.partner import STALE
from art_nip.nip.properties import HasParameters
from art_nip.nip.retrieval import Context
from art_nip.nip.retrieval.class_evidence import ClassReader
from art_nip.nip.retrieval.mixed_evidence import MixedReader
from art_nip.nip.retrieval.similarity import similarity_to
from art_nip.nip.undisturbed import undisturbed
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.ranges import PixelRange
from art_nip.utils.surrogates import SurrogateLoss
from art_nip.utils.validation import (
    check_flag,
    check_shape,
    class_indices,
    is_predicting,
    numeric,
)
from art_nip.utils.warned import warn

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from art_nip.nip.parameters import ParameterKeywords

Classifier = TypeVar("Classifier", bound=DefendableClassifier)

OfKind = TypeVar("OfKind", bound=ClassReader)


class NIPPreprocessor(HasParameters, RunsOnArrays, Preprocessor):  # type: ignore[misc]
    """Neuron-level inverse perturbation (Chen et al., "NIP", 2021).

    NIP finds for an image one of the candidates made from benign images, and adds the candidate's
    inverse perturbation before the model sees the image. Make one with :meth:`for_estimator`.

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
        estimator: DefendableClassifier,
        *,
        apply_fit: bool = False,
        apply_predict: bool = True,
        **parameters: Unpack[ParameterKeywords],
    ) -> None:
        self._check_class(estimator)
        check_flag("apply_fit", apply_fit)
        check_flag("apply_predict", apply_predict)
        super().__init__(is_fitted=False, apply_fit=apply_fit, apply_predict=apply_predict)
        check_names(parameters)
        told: dict[str, Any] = {"clip_values": estimator.clip_values, **parameters}
        given = Parameters(**told)
        self._adapter = adapter_for(estimator, given.layer, given.confidence)
        self.parameters = settled(given, self._adapter)
        self._adopt(None)

    @staticmethod
    def for_estimator(
        estimator: DefendableClassifier,
        *,
        apply_fit: bool = False,
        apply_predict: bool = True,
        **parameters: Unpack[ParameterKeywords],
    ) -> NIPPreprocessor:
        """Return an unfitted NIP for an ART classifier, of the class that its framework needs.

        :param estimator: a `PyTorchClassifier`, a `TensorFlowV2Classifier`, or a `KerasClassifier`
            in eager mode.
        :param apply_fit: see the class.
        :param apply_predict: see the class.
        :param parameters: see the class.
        :raises TypeError: if the estimator is none of these.
        """
        return _class_for(estimator)(
            estimator, apply_fit=apply_fit, apply_predict=apply_predict, **parameters
        )

    def _check_class(self, estimator: Any) -> None:
        if not isinstance(self, _class_for(estimator)):
            raise TypeError(
                f"{type(self).__name__} is not for a {type(estimator).__name__}. Make a NIP with "
                "NIPPreprocessor.for_estimator(classifier), which picks the class."
            )

    # Fitting

    @undisturbed
    def fit(
        self,
        x: Any,
        y: npt.ArrayLike | None = None,
        *,
        bank: str | Path | None = None,
        **kwargs: Any,
    ) -> None:
        """Build the neuron template and the candidates from benign images (III-D, III-E).

        :param x: benign images, shape (N, *input_shape), in the range of `clip_values`, as this
            preprocessor will receive them (after the defences that come before it). Or what brings
            them in batches, with their classes: a PyTorch `DataLoader`, an ART `DataGenerator`, a
            `datasets.Dataset`, a `tf.data.Dataset`, or any other iterable of batches (x, y), of x
            alone, or of mappings with columns of these. It is read once, and never held whole.
        :param y: their classes, shape (N,), or one-hot, shape (N, nb_classes); only images that the
            model classifies correctly become candidates. None: every image does, with the model's
            own prediction.
        :param bank: a file that the candidates go to while they are found, instead of memory; they
            are then mapped from it. It is what `save` writes. An existing file is replaced when all
            is there, and stays as it is if the fit ends before.
        :raises FileNotFoundError: if the folder of the file does not exist.
        :raises TypeError: if x is nothing of this, or images are no numbers.
        :raises ValueError: if images or labels are not as above, none is classified correctly, no
            image changes anything in the layer, the template is empty, or a file cannot hold the
            retrieval.
        """
        if kwargs:
            raise TypeError(f"fit takes x, y and bank only; it was given {', '.join(kwargs)} too.")
        if not np.isfinite(np.hstack([np.ravel(bound) for bound in self.clip_values])).all():
            raise ValueError(
                f"clip_values={self.clip_values!r}; equation 7 needs a finite range. Set that of "
                "the images."
            )
        adapter, given = self._adapter, self.parameters
        wanted = Wanted(
            adapter.input_shape, self.clip_values, adapter.nb_classes, adapter.channels_first
        )
        batches = batches_of(x, y, wanted, given.batch_size)
        if bank is not None:
            self._adopt(persistence.fit_to_file(Path(bank), adapter, given, batches))
            return
        most = batches.n_images if given.retrieval.uses_candidates else 0
        codes = CodesInMemory(adapter.input_shape, given.bank_dtype, most)
        self._adopt(fitting.fit(adapter, given, batches, codes))

    def _adopt(self, fitted: Fitted | None) -> None:
        self._fitted = fitted
        self._is_fitted = fitted is not None
        self._at_work: Defending | None = None
        self._mark: object = None if fitted is None else self._adapter.weights_mark()
        self._is_stale = False

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

        This is the paper's δ, in full precision, whichever retrieval and look are chosen.

        :param x: images, shape (N, *input_shape), in the range of `clip_values`.
        """
        template, fractions = self._require_fit().template, self.parameters.fractions
        return self._batched(x, similarity_to(template, self._adapter, fractions), ())

    def retrieve(self, x: npt.ArrayLike) -> npt.NDArray[np.int64]:
        """Return the index of the candidate that the retrieval finds, int64, shape (N,).

        The index is -1 where there is no candidate, as with "class", whose perturbations are the
        images' own.

        :param x: images, shape (N, *input_shape), in the range of `clip_values`.
        """
        return self._batched(x, self._ready().reader.candidate, (), np.int64)

    def evidence(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the log p(c | x) that the evidence of "class" retrieval gives to images.

        Defended images should be classified as `evidence(x).argmax(axis=1)`, which takes no
        perturbation to compute. Probabilities need not sum to 1.

        :param x: images, shape (N, *input_shape), in the range of `clip_values`.
        :return: float32, shape (N, nb_classes).
        :raises NotFittedError: if nothing was fitted.
        :raises ValueError: if the retrieval is another.
        """
        return self._batched(x, self._evidence_reader.log_posterior, (self._adapter.nb_classes,))

    def evidence_gradient(
        self, x: npt.ArrayLike, classes: npt.ArrayLike
    ) -> npt.NDArray[np.float32]:
        """Return what the evidence of "class" retrieval offers attacks as its gradient.

        It is that of log p(c | x) to x, or of a score that leads attacks better; see
        `EvidenceReader.gradient`.

        :param x: images, shape (N, *input_shape), in the range of `clip_values`; as many as fit
            into memory at once.
        :param classes: c of each image, shape (N,).
        :return: float32, shape of x.
        :raises NotFittedError: if nothing was fitted.
        :raises ValueError: if the retrieval is another, or images or classes are not as above.
        """
        reader, images = self._evidence_reader, self._checked(x)
        of = class_indices(classes, len(images), self._adapter.nb_classes)
        return self._array(lambda: reader.gradient(self._adapter.tensor(images), of))

    @property
    def _evidence_reader(self) -> ClassReader:
        return self._reader_of(ClassReader, "class", "has evidence")

    # Defending

    def __call__(
        self, x: npt.ArrayLike, y: Any | None = None
    ) -> tuple[npt.NDArray[np.float32], Any | None]:
        """Return the defended images [7], float32, shape of x, and y as it was.

        Images outside the range are refused: most often they have another range. If one of ART's
        classifiers calls NIP while it predicts, as `KerasClassifier` does, they are allowed as in
        :meth:`forward`: attacks leave the range.

        :param x: images, shape (N, *input_shape), in the range of `clip_values`.
        :param y: anything.
        :raises NotFittedError: if nothing was fitted.
        :raises ValueError: if images are not as above.
        """
        at_work = self._ready()
        if is_predicting():
            return np.asarray(self._adapter.numpy(self.forward(numeric(x))[0]), np.float32), y
        return self._batched(x, at_work.defended, self._adapter.input_shape), y

    @undisturbed
    def forward(self, x: Array, y: Any | None = None) -> tuple[Array, Any | None]:
        """Return the defended images as a tensor on the model's device; differentiable in x.

        The result is in float32, or in the model's own precision if that is another.

        The gradient takes what the retrieval finds as constant. For a candidate this is exact
        almost everywhere; for the image's own inverse perturbation ("class") it is not.

        The method takes what a model takes, as ART's classifiers call it in the middle of attacks:
        values outside the range, as ART's `UniversalPerturbation` makes them, and images with NaN
        or infinite values, which become NaN as an undefended model's scores would. Other images are
        not affected.

        :param x: images, a tensor of shape (N, *input_shape).
        :param y: anything.
        :raises NotFittedError: if nothing was fitted.
        :raises ValueError: if images have another shape.
        """
        at_work, size = self._ready(), self.parameters.batch_size
        x = self._adapter.tensor(x)
        check_shape(x, self._adapter.input_shape)
        if len(x) == 0:
            return x, y
        if len(x) <= size:
            return self._adapter.as_input(at_work.forwarded(x, self)), y
        batches = [
            at_work.forwarded(x[start : start + size], self) for start in range(0, len(x), size)
        ]
        return self._adapter.as_input(namespace(x).concat(batches)), y

    def estimate_gradient(self, x: npt.ArrayLike, grad: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the gradient to x given that to the defended images; see `forward`.

        ART's classifiers call it in the middle of an attack, so it takes all images that `forward`
        takes. Where images are NaN or infinite, the gradient is 0.

        :param x: images, shape (N, *input_shape).
        :param grad: gradients, shape of x, or (N, C, *input_shape) for one per class.
        :return: float32, shape of `grad`.
        :raises NotFittedError: if nothing was fitted.
        :raises ValueError: if images or gradients have another shape.
        """
        images, gradient = numeric(x), numeric(grad)
        check_shape(images, self._adapter.input_shape)
        if gradient.shape not in (images.shape, (*gradient.shape[:2], *images.shape[1:])):
            raise ValueError(
                f"Gradients have shape {gradient.shape}; to images of shape {images.shape} give "
                "them in that shape, or with an axis of classes after the first."
            )
        finite = np.isfinite(images.reshape(len(images), -1)).all(axis=1)
        result = np.zeros_like(gradient)
        result[finite] = neurons.defended_gradient(
            images[finite],
            self._each_batch(images[finite], self._ready().reader.perturbation, images.shape[1:]),
            self.parameters.strength,
            PixelRange.of(self.parameters.clip_values),
            gradient[finite],
        )
        return result

    def surrogate_losses(
        self,
        x: npt.ArrayLike,
        y: npt.NDArray[np.int64],
        targets: npt.NDArray[np.int64],
        classifier: Any = None,
    ) -> list[SurrogateLoss]:
        """Return what leads the defended model to classes, for attacks made for NIP.

        See :class:`art_nip.utils.surrogates.OffersSurrogateLosses`. With "class" retrieval, these
        are the losses of the evidence and of the model; with others, one of the model behind
        candidates drawn at random.

        :param x: images, shape (N, *input_shape), in the range of `clip_values`; as many as fit
            into memory at once.
        :param y: anything.
        :param targets: the class to lead each image to, shape (N,).
        :param classifier: anything: NIP knows its model. Its other defences count as the identity.
        """
        images = self._adapter.tensor(self._checked(x))
        targets = class_indices(targets, len(images), self._adapter.nb_classes)
        at_work = self._ready()
        found = at_work.reader.surrogate_losses(images, targets, at_work.added)
        return [
            SurrogateLoss(partial(self._array, scores), partial(self._array, gradient))
            for scores, gradient in found
        ]

    @undisturbed
    def answers(self, x: Array) -> Array:
        """Return what a classifier with "mixed" retrieval attached gives, as a tensor.

        It is differentiable in x, exactly; images that are NaN or infinite somewhere get NaN.

        :param x: images, a tensor of shape (N, *input_shape), in the range of `clip_values`.
        :return: shape (N, nb_classes): logits, or probabilities if the model gives these.
        :raises NotFittedError: if nothing was fitted.
        :raises ValueError: if the retrieval is another, or images have another shape.
        """
        reader = self._answering()
        x = self._adapter.tensor(x)
        check_shape(x, self._adapter.input_shape)
        return reader.answers(x)

    # The fit at work

    def _answering(self) -> MixedReader:
        return self._reader_of(MixedReader, "mixed", "gives answers")

    def _reader_of(self, kind: type[OfKind], name: str, gives: str) -> OfKind:
        """Return the retrieval at work; refuse one that is not of the kind."""
        reader = self._ready().reader
        if not isinstance(reader, kind):
            raise ValueError(
                f'Only "{name}" retrieval {gives}, and this one is {self.retrieval!r}. Make a NIP '
                f'with retrieval="{name}".'
            )
        return reader

    @property
    def _context(self) -> Context:
        given = self.parameters
        return Context(self._adapter, given.clip_values, given.fractions, self._fitted, given.look)

    def _require_fit(self) -> Fitted:
        if self._fitted is None:
            raise NotFittedError(
                "This NIPPreprocessor has no candidates yet: call fit(x_benign, y_benign), or load "
                "a saved one."
            )
        return self._fitted

    def _ready(self) -> Defending:
        """Return the retrieval at work, on the device that the model is on now."""
        fitted, device = self._require_fit(), self._adapter.device
        self._warn_if_stale(fitted)
        if self._at_work is None or self._at_work.reader.device != device:
            self._at_work = self._made_ready()
        return self._at_work

    @undisturbed
    def _made_ready(self) -> Defending:
        return Defending(self.retrieval, self._context, self.strength)

    def _warn_if_stale(self, fitted: Fitted) -> None:
        """Warn once if the weights are not those of the fit.

        This is no error: adversarial training of the defended classifier changes the weights
        between one use and the next. All weights are compared only if the cheap mark differs.
        """
        mark = self._adapter.weights_mark()
        if mark != self._mark and not self._is_stale:
            self._mark, self._is_stale = mark, self._adapter.fingerprint() != fitted.fingerprint
            if self._is_stale:
                warn(STALE)

    # As a part of ART

    def set_params(self, **kwargs: Any) -> None:
        """Change parameters; all of them, or none if one is not allowed.

        The fit is kept when only `strength`, `batch_size`, `look` or `verbose` change, or weight
        and temperature of "mixed" retrieval; else it is dropped.
        A change of `clip_values` drops it too: candidates are in units of the range, and views are
        made in it.

        :param kwargs: see :class:`art_nip.nip.parameters.Parameters`.
        :raises ValueError: if a name or a value is not allowed.
        """
        before, after = self.parameters, self.parameters.changed(kwargs)
        adapter = self._adapter
        if (before.layer, before.confidence) != (after.layer, after.confidence):
            adapter = adapter.looking_at(after.layer, after.confidence)
        after = settled(after, adapter)
        self.parameters, self._adapter, self._at_work = after, adapter, None
        if not after.fits_as(before):
            self._adopt(None)

    def attach(self, estimator: Classifier) -> Classifier:
        """Return a new classifier with NIP behind its other preprocessing defences.

        With "mixed" retrieval, no defence is added: the new classifier's model gives the mixture.

        The given one is untouched; both share the model. ART's TensorFlow classifiers cannot be
        deep-copied or pickled, defended or not: save this instead, and attach it anew.

        A classifier of another model with exactly the weights of the fit, such as a copy, gets a
        NIP of the same fit that looks at its own model.

        :param estimator: the classifier this was made for, or another ART classifier of the same
            model, or of a copy of it.
        :raises ValueError: if it has another model, other `clip_values`, another preprocessing of
            mean and std, or defences that ART cannot chain with this one; or if the weights, or
            what the model does with them, have changed since the fit.
        """
        self._check_class(estimator)
        return attached(self, estimator)  # type: ignore[no-any-return]

    def module(self, estimator: DefendableClassifier, **options: Any) -> Any:
        """Return a classifier with this behind its other defences as a model of its framework.

        It predicts what the defended classifier predicts, for tools that do not know ART: the
        `model` of a defended classifier is the network alone, without defences.

        :param estimator: see :meth:`attach`.
        :param options: see :func:`art_nip.as_module`, which says what the model is like.
        :raises ValueError: as :meth:`attach` and :func:`art_nip.as_module` do.
        """
        return as_module(self.attach(estimator), **options)

    def save(self, path: str | Path) -> None:
        """Save the fit to one safetensors file, whole or not at all.

        The file records the weights that the fit belongs to, and `load` refuses others. If the
        model was trained after the fit, a warning says so: the file is for the weights before
        training.

        :param path: the file; an existing one is replaced.
        :raises NotFittedError: if nothing was fitted.
        :raises ValueError: if a file cannot hold the retrieval: one of your own, or one that asks
            another classifier.
        """
        persistence.save(Path(path), self._adapter, self.parameters, self._require_fit())

    @staticmethod
    def load(path: str | Path, estimator: DefendableClassifier) -> NIPPreprocessor:
        """Return the NIP that was saved, for a classifier with the weights that it was fitted on.

        The candidates are mapped into memory, and looked through once for values that are no
        numbers. Nothing in the file is executed.

        :param path: a file written by `save`.
        :param estimator: an ART classifier.
        :raises FileNotFoundError: if there is no such file.
        :raises ValueError: if it is damaged, of another format version, or was fitted on other
            weights, another layer, another input shape or another range; the message says which.
        """
        _class_for(estimator)
        return persistence.load(Path(path), estimator, NIPPreprocessor.for_estimator)

    @undisturbed
    def _check_learned(self) -> None:
        self.retrieval.check_learned(self._context)

    def __repr__(self) -> str:
        fitted = repr(self._fitted.bank) if self._fitted else "not fitted"
        given = ", ".join(f"{name}={value!r}" for name, value in vars(self.parameters).items())
        return f"{type(self).__name__}(layer_name={self.layer_name!r}, {given}; {fitted})"

    def __getstate__(self) -> dict[str, Any]:
        # The mark is valid in this process only; without it, the weights are compared once.
        return {**vars(self), "_at_work": None, "_mark": None}


class NIPPreprocessorPyTorch(NIPPreprocessor, PreprocessorPyTorch):  # type: ignore[misc]
    """NIP for an ART `PyTorchClassifier`, of any `nn.Module`; parameters as in the base class."""

    @property
    def device(self) -> Any:
        """The device that the model is on."""
        return self._adapter.device


class NIPPreprocessorTensorFlowV2(NIPPreprocessor, PreprocessorTensorFlowV2):  # type: ignore[misc]
    """NIP for an ART `TensorFlowV2Classifier`, or `KerasClassifier` in eager mode."""


def _class_for(estimator: Any) -> type[NIPPreprocessor]:
    kind: type[NIPPreprocessor] = for_framework(
        estimator, "NIP", NIPPreprocessorPyTorch, NIPPreprocessorTensorFlowV2
    )
    return kind
