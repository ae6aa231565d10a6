"""Neuron-importance masking: only the neurons that matter to a class decide on it.

After IG-Defense, which is interpretability-guided: Kulkarni and Weng, "Interpretability-Guided
Test-Time Adversarial Defense", ECCV 2024, https://arxiv.org/abs/2409.15190.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences.transformer.transformer import Transformer
from sklearn.exceptions import NotFittedError

from art_nip.estimators.base import EstimatorAdapter, adapter_for
from art_nip.utils.frameworks import Framework, code_of, framework_of
from art_nip.utils.surrogates import Classes, SurrogateLoss
from art_nip.utils.validation import (
    check_choice,
    check_classifier,
    check_images,
    check_number,
    check_whole,
    class_indices,
    numeric,
)

USER = "Importance masking"


class ImportanceMasking(Transformer):  # type: ignore[misc]
    """Mask the neurons that do not matter to the class that a classifier is about to predict.

    `fit` learns the masks from benign images, and `get_classifier` gives the defended classifier.
    The defended classifier runs the model twice. The first pass gives a class; in the second, whose
    scores are returned, the neurons of one layer are multiplied by that class's mask of zeros and
    ones. The idea: an attack raises the neurons that matter to its target class, and lowers those
    of the true class; if the other neurons are masked, the attack has less to raise.

    From the paper: the two passes, a mask for each class that keeps its most important neurons, in
    the layer before the classifying one, and a first pass that chooses the mask softly, by the
    softmax of `sharpness` × logits, so that gradients go through the choice. `keep` is that of its
    script for ResNet-18, 50 neurons of 512.

    Our choices: the paper measures importance by leaving a neuron out, or by what CLIP says that it
    sees; here it is ``|∂y_c/∂φ · φ|`` with y_c the logit, the mean over images of class c: what
    leaving it out changes to first order, and exactly where only one dense layer follows. Neurons
    are single values, where the paper masks whole channels of convolutional layers. The first pass
    gets no noise, as it does in the paper's script.

    What to expect: the class of the first pass chooses the mask, which favours this class in the
    second pass. The paper adds a few points to adversarially trained models. On GTSRB's ResNet-20,
    trained without, no image that FGSM or PGD had got through came back, and one in eleven of
    DeepFool's.

    ART's attacks go through both passes. The model is shared with the given classifier and left as
    it is; train it before, not through the defended one.

    :param classifier: an ART `PyTorchClassifier` whose model gives logits. Its `preprocessing` of
        (mean, std) and its defences are kept.
    :param layer: "auto" (the one between the convolutional and the dense part), or a
        layer as `NIPPreprocessor` takes it.
    :param keep: share of neurons that a mask keeps, above 0, at most 1; rounded to whole neurons,
        at least one.
    :param sharpness: how sharply the first pass chooses, above 0.
    :param batch_size: number of benign images in a batch.
    :raises TypeError: if the classifier is no `PyTorchClassifier`.
    :raises ValueError: if a parameter is not allowed.
    """

    params = ["layer", "keep", "sharpness", "batch_size"]  # noqa: RUF012 - as ART has it

    def __init__(
        self,
        classifier: Any,
        layer: str = "auto",
        keep: float = 0.1,
        sharpness: float = 100.0,
        batch_size: int = 64,
    ) -> None:
        _check_pytorch(classifier)
        super().__init__(classifier=classifier)
        self.layer = layer
        self.keep = keep
        self.sharpness = sharpness
        self.batch_size = batch_size
        self._check_params()
        self._defended: Any = None

    @classmethod
    def check_parameters(cls, **parameters: Any) -> None:
        """Raise a ValueError if a parameter is not allowed, whatever the classifier is.

        :param parameters: see the class.
        """
        unbound: Any = object.__new__(cls)
        defaults = {
            name: parameter.default
            for name, parameter in inspect.signature(cls).parameters.items()
            if name in cls.params
        }
        vars(unbound).update({**defaults, **parameters})
        unbound._check_params()

    def fit(self, x: npt.ArrayLike, y: npt.ArrayLike | None = None, **kwargs: Any) -> None:
        """Learn which neurons matter to each class.

        :param x: benign images, shape (N, *input_shape), in the range of the classifier's clip
            values, as the model will receive them (after the classifier's defences). Those that the
            model classifies wrongly are left out.
        :param y: their classes, shape (N,), or one-hot, shape (N, nb_classes).
        :raises TypeError: if images are no numbers, or there are other keywords.
        :raises ValueError: if images or labels are not as above, the model gives probabilities or
            has no such layer, or no image of a class is classified correctly.
        """
        if kwargs:
            raise TypeError(f"fit takes x and y only; it was given {', '.join(kwargs)} too.")
        if y is None:
            raise ValueError("y=None; importance masking learns for each class: give their labels.")
        self._defended = self._masked(self.classifier, x, y)
        self._is_fitted = True

    def get_classifier(self) -> Any:
        """Return the defended classifier, an ART classifier of the same class as the given one.

        :raises NotFittedError: if nothing was fitted.
        """
        if self._defended is None:
            raise NotFittedError(
                "This ImportanceMasking has no masks yet: call fit(x_benign, y_benign)."
            )
        return self._defended

    def surrogate_losses(
        self, x: npt.ArrayLike, y: Classes, targets: Classes, classifier: Any
    ) -> Sequence[SurrogateLoss]:
        """Return those of the defended classifier's model; see `MaskedModule`."""
        losses: Sequence[SurrogateLoss] = self.get_classifier().model.surrogate_losses(
            x, y, targets, classifier
        )
        return losses

    def __call__(self, x: npt.ArrayLike, transformed_classifier: Any) -> Any:
        """Return another classifier, masked likewise, with this one's predictions as labels.

        It needs no `fit`.

        :param x: benign images, as in `fit`; their labels are the classes that the classifier of
            this transformer gives them.
        :param transformed_classifier: the `PyTorchClassifier` to be defended; it stays as it is.
        :raises ValueError: as in `fit`.
        """
        _check_pytorch(transformed_classifier)
        labels = self.classifier.predict(numeric(x)).argmax(axis=1)
        return self._masked(transformed_classifier, x, labels)

    def set_params(self, **kwargs: Any) -> None:
        """Change parameters; all of them, or none if one is not allowed. The fit is dropped.

        :param kwargs: see the class.
        :raises ValueError: if a name or a value is not allowed.
        """
        for name in kwargs:
            check_choice("parameter of ImportanceMasking", name, self.params)
        self.check_parameters(**{**self._parameters(), **kwargs})
        super().set_params(**kwargs)
        self._defended, self._is_fitted = None, False

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self._parameters().items())
        return f"{type(self).__name__}({given})"

    def _parameters(self) -> Mapping[str, Any]:
        return {name: getattr(self, name) for name in self.params}

    def _check_params(self) -> None:
        if not isinstance(self.layer, str):
            raise ValueError(f"layer={self.layer!r}; give the name of a layer, or 'auto'.")
        check_number("keep", self.keep, low=1e-6, high=1)
        check_number("sharpness", self.sharpness, low=1e-6)
        check_whole("batch_size", self.batch_size, least=1)

    def _masked(self, classifier: Any, x: npt.ArrayLike, y: npt.ArrayLike) -> Any:
        adapter = adapter_for(classifier, self.layer, "logit", USER)
        images = numeric(x)
        check_images(images, adapter.input_shape, classifier.clip_values)
        labels = class_indices(y, len(images), adapter.nb_classes)
        importance = class_importance(adapter, images, labels, self.batch_size)
        module = code_of(__name__, Framework.PYTORCH).MaskedModule(
            adapter.model, adapter.layer, masks(importance, self.keep), self.sharpness
        )
        return with_model(classifier, module)


def with_model(classifier: Any, model: Any) -> Any:
    """Return another ART classifier, with the same settings and another model.

    :param classifier: a `PyTorchClassifier`; it stays as it is.
    :param model: a module of the same input and classes.
    """
    known = inspect.signature(type(classifier)).parameters
    settings = {name: value for name, value in classifier.get_params().items() if name in known}
    return type(classifier)(**{**settings, "model": model, "optimizer": None})


def class_importance(
    adapter: EstimatorAdapter,
    x: npt.NDArray[np.float32],
    y: npt.NDArray[np.int64],
    batch_size: int,
) -> npt.NDArray[np.float32]:
    """Return how much each neuron matters to each class, float32, shape (nb_classes, n).

    :param adapter: computes neuron influence.
    :param x: benign images.
    :param y: their classes.
    :param batch_size: number of images in a batch.
    :raises ValueError: if no image of a class is classified correctly.
    """
    total = np.zeros((adapter.nb_classes, adapter.n_neurons))
    counts = np.zeros(adapter.nb_classes, int)
    for start in range(0, len(x), batch_size):
        batch = slice(start, start + batch_size)
        labels = y[batch]
        # New tensors: a model may write to its input.
        logits, _ = adapter.logits_and_activations(adapter.tensor(x[batch].copy()), ())
        right = adapter.numpy(logits).argmax(axis=1) == labels
        # The influence on the predicted class, which is the true class of these images.
        influence = adapter.numpy(adapter.influence(adapter.tensor(x[batch][right])))
        np.add.at(total, labels[right], np.abs(influence))
        np.add.at(counts, labels[right], 1)
    if missing := np.flatnonzero(counts == 0).tolist():
        raise ValueError(
            f"No image of the classes {', '.join(map(str, missing))} is classified correctly; give "
            "more benign images, some of each class."
        )
    return (total / counts[:, None]).astype(np.float32)


def masks(importance: npt.NDArray[np.float32], keep: float) -> npt.NDArray[np.float32]:
    """Return masks with ones for the most important neurons of each class, and zeros elsewhere.

    :param importance: shape (nb_classes, n).
    :param keep: share of the n neurons; at least one is kept.
    """
    kept = max(1, round(keep * importance.shape[1]))
    most = np.argsort(-importance, axis=1, kind="stable")[:, :kept]
    chosen = np.zeros_like(importance)
    np.put_along_axis(chosen, most, 1, axis=1)
    return chosen


def _check_pytorch(classifier: Any) -> None:
    check_classifier(classifier, USER)
    names = {kind.__name__ for kind in type(classifier).__mro__}
    if framework_of(classifier) is not Framework.PYTORCH or "PyTorchClassifier" not in names:
        raise TypeError(
            f"{USER} changes what a PyTorch model computes, and {type(classifier).__name__} has "
            "none: give a PyTorchClassifier of ART."
        )
