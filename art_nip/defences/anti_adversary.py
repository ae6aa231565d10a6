"""The anti-adversary layer: it raises the classifier's confidence in the class it predicts.

Alfarra et al., "Combating Adversaries with Anti-Adversaries", AAAI 2022,
https://arxiv.org/abs/2103.14347.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from art_nip.attacks.stand_ins import loss_of, standing_in
from art_nip.defences.base import ImageDefence, Settings
from art_nip.defences.pytorch import PyTorchDefence
from art_nip.defences.tensorflow import TensorFlowDefence
from art_nip.estimators.base import adapter_for, seen_in
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.surrogates import Classes, SurrogateLoss
from art_nip.utils.validation import (
    check_classifier,
    check_images,
    check_number,
    check_whole,
    numeric,
)

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

USER = "The anti-adversary layer"


class AntiAdversary(ImageDefence):
    """Move each image to where the classifier is surer of the class it predicts (Alfarra et al.).

    From γ = 0, γ ← γ − α · sign(∇γ CE(f(x + γ), c)) is done K times, with c the class that f
    predicts for x; the image becomes x + γ. An image that an attack has got across a boundary goes
    further in: the layer corrects nothing that was made without it. What it may do is to make the
    boundary harder to find for attacks that go through it.

    From the paper: the above, K and α, and that nothing is fitted. Our choices: α is a share of
    the range of the images, before the estimator's (mean, std), where the authors' code has it
    behind these, and the result is clipped, which theirs is not. The sign is taken of the gradient
    of c's log-odds, log p_c / (1 − p_c). In exact numbers that is the same; in float32, that of the
    cross-entropy loses terms, and in the end all, as p_c rounds to 1.

    The paper's α suits its adversarially trained models. On GTSRB models trained without, moves of
    0.3 also lose benign images: LeNet-5 falls from .92 to .78, ResNet-20 from .98 to .65, and with
    step_size=2/255 neither falls.

    The gradient counts γ as constant. This is exact almost everywhere, as a sign is constant, and
    zero where the result is clipped.

    Make one with :meth:`for_estimator`.

    :param estimator: an ART classifier that gives gradients; see the subclasses. Its
        `preprocessing` of (mean, std) is honoured, its preprocessing defences are not looked
        through.
    :param steps: K, at least 1; the authors' is 2.
    :param step_size: α, above 0, as a share of the range of the images; the authors' is 0.15.
    :param settings: `apply_fit`, `apply_predict` and `batch_size` of
        :class:`art_nip.defences.base.ImageDefence`, and `clip_values`: the range of the images;
        None takes the estimator's. If that has none, the range counts as 1, and the result is left
        as it is: that is the authors' layer.
    :raises ValueError: if a parameter is not allowed.
    :raises TypeError: if the estimator is not one that can be looked into.
    """

    params = ["steps", "step_size", "clip_values", "batch_size"]  # noqa: RUF012 - as ART has it
    default_batch_size = 64

    def __init__(
        self,
        estimator: Any,
        steps: int = 2,
        step_size: float = 0.15,
        **settings: Unpack[Settings],
    ) -> None:
        check_classifier(estimator, USER)
        if "channels_first" in settings:
            raise TypeError(f"{type(self).__name__} has no channels_first: it follows the model.")
        # Images stay in the model's own order of axes.
        settings["channels_first"] = True
        if settings.get("clip_values") is None:
            settings["clip_values"] = estimator.clip_values
        super().__init__(**settings)
        self.steps = steps
        self.step_size = step_size
        self._check_params()
        self._model = adapter_for(estimator, None, "probability", USER)

    @classmethod
    def for_estimator(cls, estimator: Any, **parameters: Any) -> Self:
        """Return the layer for an ART classifier, of the class that its framework needs.

        :param estimator: a `PyTorchClassifier`, a `TensorFlowV2Classifier`, or a `KerasClassifier`
            in eager mode.
        :param parameters: see the class.
        :raises TypeError: if it is none of these.
        """
        check_classifier(estimator, USER)
        return cls._for_framework(seen_in(estimator, USER))(estimator, **parameters)

    @classmethod
    def check_parameters(cls, **parameters: Any) -> None:
        """Raise a ValueError if a parameter is not allowed, whatever the classifier is."""
        unbound: Any = object.__new__(cls)
        vars(unbound).update(
            channels_first=True, clip_values=None, batch_size=1, steps=1, step_size=1.0
        )
        unbound.set_params(**parameters)

    def estimate_gradient(self, x: npt.ArrayLike, grad: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the gradient to x given that to the moved images; see the class.

        :param x: images, shape (N, *input_shape).
        :param grad: gradients, shape of x, or (N, C, *input_shape) for one per class.
        :return: float32, shape of `grad`.
        """
        images, gradient = numeric(x), np.array(grad, np.float32)
        if self.clip_values is None:
            return gradient
        with self._undisturbed():
            for batch in self._batches(len(images)):
                moved = self._treated(self._tensor(images[batch]))
                inside = self._numpy(moved == self._clipped(moved))
                gradient[batch] *= inside if gradient.ndim == images.ndim else inside[:, None]
        return gradient

    def surrogate_losses(
        self, x: npt.ArrayLike, y: Classes, targets: Classes, classifier: Any
    ) -> Sequence[SurrogateLoss]:
        """Return the loss of the classifier without the layer, and with it.

        See :class:`art_nip.utils.surrogates.OffersSurrogateLosses`. The layer makes the class that
        the classifier predicts for an image surer: what fools the classifier fools both.
        """
        bare = standing_in(classifier, self, None)
        return [loss_of(led, x, targets) for led in (bare, classifier)]

    def _treated(self, x: Array) -> Array:
        xp = namespace(x)
        step = self.step_size * self._pixel_range(x).span
        move = xp.zeros_like(x)
        # A sum is a new array: a model may write to its input, which must not be the caller's.
        logits, _ = self._model.logits_and_activations(x + move, ())
        classes = self._model.numpy(logits).argmax(axis=1)
        is_class = self._model.tensor(np.eye(self._model.nb_classes)[classes]) > 0
        for _ in range(self.steps):
            gradient = self._model.gradient(x + move, (), partial(log_odds, is_class))
            move = move + step * xp.sign(gradient)
        return x + move

    def _with_gradient(self, treated: Array, change: Array) -> Array:
        # The move is a constant, and clipping is not.
        return self._clipped(treated + change)

    def _defend(self, x: Array) -> Array:
        raise NotImplementedError("The layer works in the unit of the images: see _treated.")

    def _check_params(self) -> None:
        super()._check_params()
        check_whole("steps", self.steps, least=1)
        check_number("step_size", self.step_size, low=1e-6)

    def _check_images(self, x: Array) -> None:
        # Values may lie outside the range: attacks on a classifier may leave it.
        check_images(x, self._model.input_shape, clip_values=None)
        self._check_bounds(tuple(x.shape[1:]))

    def _check_size(self, channels: int, height: int, width: int) -> None:
        """Accept any size: the model decides."""


class AntiAdversaryPyTorch(PyTorchDefence, AntiAdversary):
    """The layer for an ART `PyTorchClassifier`; parameters as in :class:`AntiAdversary`."""

    @property
    def device(self) -> Any:
        """The device that the model is on."""
        return self._model.device


class AntiAdversaryTensorFlowV2(TensorFlowDefence, AntiAdversary):
    """The layer for an ART `TensorFlowV2Classifier`, or `KerasClassifier` in eager mode."""


def log_odds(is_class: Array, logits: Array, maps: Sequence[Array]) -> Array:
    """Return log p_c / (1 - p_c) of each image, shape (N,).

    :param is_class: which class is c, bool, shape (N, nb_classes).
    :param logits: shape (N, nb_classes).
    """
    xp = namespace(logits)
    others = xp.where(is_class, logits * 0 - np.inf, logits)
    highest = xp.max(others, axis=1, keepdims=True)
    of_others = highest[:, 0] + xp.log(xp.sum(xp.exp(others - highest), axis=1))
    return xp.sum(xp.where(is_class, logits, logits * 0), axis=1) - of_others
