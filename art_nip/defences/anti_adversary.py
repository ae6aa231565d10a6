"""The anti-adversary layer: towards more confidence in what the classifier predicts anyway.

Alfarra et al., "Combating Adversaries with Anti-Adversaries", AAAI 2022,
https://arxiv.org/abs/2103.14347.
"""

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.defences.base import ImageDefence, PyTorchDefence, TensorFlowDefence
from art_nip.estimators.base import EstimatorAdapter, for_framework
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.validation import check_images, check_number, check_whole, numeric


class AntiAdversary(ImageDefence):
    """Move each image to where the classifier is surer of the class it predicts (Alfarra et al.).

    From γ = 0, γ ← γ − α · sign(∇γ CE(f(x + γ), c)) is done K times, with c the class that f
    predicts for x; the image becomes x + γ. An image that an attack has got across a boundary goes
    further in: the layer corrects nothing that was made without it. What it may do is to make the
    boundary harder to find for attacks that go through it.

    From the paper: the above, K and α; so is that nothing is fitted. Our choices: α is in units of
    the images, before the estimator's (mean, std), where the authors' code has it behind these, and
    the result is clipped, which theirs is not. The sign is taken of the gradient of c's log-odds,
    log p_c / (1 − p_c). In exact numbers that is the same; in float32, that of the cross-entropy
    loses terms, and in the end all, as p_c rounds to 1.

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
    :param step_size: α, above 0, in units of the images; the authors' is 0.15.
    :param clip_values: range (min, max) of the images, two numbers; None takes the estimator's, and
        if it has none, leaves the result as it is: that is the authors' layer.
    :param apply_fit: whether the defence is applied when the defended classifier is trained.
    :param apply_predict: whether the defence is applied when it predicts.
    :param batch_size: how many images are treated at once.
    :raises ValueError: if a parameter is not allowed.
    :raises TypeError: if the estimator is not one that can be looked into.
    """

    params = ["steps", "step_size", "clip_values", "batch_size"]  # noqa: RUF012 - as ART has it

    def __init__(
        self,
        estimator: Any,
        steps: int = 2,
        step_size: float = 0.15,
        clip_values: tuple[float, float] | None = None,
        apply_fit: bool = False,
        apply_predict: bool = True,
        batch_size: int = 64,
    ) -> None:
        super().__init__(
            # Images are in the model's own order, whichever that is, and stay in it.
            channels_first=True,
            clip_values=estimator.clip_values if clip_values is None else clip_values,
            apply_fit=apply_fit,
            apply_predict=apply_predict,
            batch_size=batch_size,
        )
        self.steps = steps
        self.step_size = step_size
        self._check_params()
        self._model = self._seen(estimator)

    @staticmethod
    def for_estimator(estimator: Any, **parameters: Any) -> "AntiAdversary":
        """Return the layer for an ART classifier, of the class that its framework needs.

        :param estimator: a `PyTorchClassifier`, a `TensorFlowV2Classifier`, or a `KerasClassifier`
            in eager mode.
        :param parameters: as of the class.
        :raises TypeError: if it is none of these.
        """
        kind = for_framework(
            estimator,
            "The anti-adversary layer",
            AntiAdversaryPyTorch,
            AntiAdversaryTensorFlowV2,
        )
        return kind(estimator, **parameters)

    def forward(self, x: Array, y: Any | None = None) -> tuple[Array, Any | None]:
        """Return the moved images as a tensor on its device; differentiable in x.

        :param x: images, a tensor of shape (N, *input_shape).
        :param y: anything.
        :raises ValueError: as of the call.
        """
        xp = namespace(x)
        x = xp.astype(x, xp.float32)
        fixed = self._constant(x)
        self._check_images(fixed)
        if len(x) == 0:
            return x, y
        starts = range(0, len(x), self.batch_size)
        moves = [self._move(fixed[start : start + self.batch_size]) for start in starts]
        moved = x + xp.concat(moves)
        return moved if self.clip_values is None else xp.clip(moved, *self.clip_values), y

    def estimate_gradient(self, x: npt.ArrayLike, grad: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return the gradient to x given that to the moved images; see the class.

        :param x: images, shape (N, *input_shape).
        :param grad: gradients, shape of x, or (N, C, *input_shape) for one per class.
        :return: float32, shape of `grad`.
        """
        images, gradient = numeric(x), np.array(grad, np.float32)
        if self.clip_values is None:
            return gradient
        low, high = map(np.float32, self.clip_values)
        for start in range(0, len(images), self.batch_size):
            batch = slice(start, start + self.batch_size)
            moved = images[batch] + self._numpy(self._move(self._tensor(images[batch])))
            inside = (moved >= low) & (moved <= high)
            gradient[batch] *= inside if gradient.ndim == images.ndim else inside[:, None]
        return gradient

    def _move(self, x: Array) -> Array:
        """Return γ; it carries no gradient."""
        xp = namespace(x)
        logits, _ = self._model.logits_and_activations(x, ())
        classes = self._model.numpy(logits).argmax(axis=1)
        is_class = self._model.tensor(np.eye(self._model.nb_classes)[classes]) > 0
        move = xp.zeros_like(x)
        for _ in range(self.steps):
            way = self._model.gradient(x + move, (), partial(log_odds, is_class))
            move = move + self.step_size * xp.sign(way)
        return move

    def _defend(self, x: Array) -> Array:
        return x + self._move(x)

    def _check_params(self) -> None:
        super()._check_params()
        check_whole("steps", self.steps, least=1)
        check_number("step_size", self.step_size, low=1e-6)

    def _check_images(self, x: Array) -> None:
        # Of any range: attacks on a classifier may leave it.
        check_images(x, self._model.input_shape, clip_values=None)

    def _check_size(self, channels: int, height: int, width: int) -> None:
        """Of any size that the model takes."""

    @staticmethod
    @abstractmethod
    def _seen(estimator: Any) -> EstimatorAdapter:
        """Return the model of an estimator."""


class AntiAdversaryPyTorch(PyTorchDefence, AntiAdversary):
    """The layer for an ART `PyTorchClassifier`; parameters as of :class:`AntiAdversary`."""

    @property
    def device(self) -> Any:
        """The device that the model is on."""
        return self._model.device

    @staticmethod
    def _seen(estimator: Any) -> EstimatorAdapter:
        from art_nip.estimators.pytorch import PyTorchAdapter

        return PyTorchAdapter(estimator, None, "probability")


class AntiAdversaryTensorFlowV2(TensorFlowDefence, AntiAdversary):
    """The layer for an ART `TensorFlowV2Classifier`, or `KerasClassifier` in eager mode."""

    @staticmethod
    def _seen(estimator: Any) -> EstimatorAdapter:
        from art_nip.estimators.tensorflow import TensorFlowAdapter

        return TensorFlowAdapter(estimator, None, "probability")


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
