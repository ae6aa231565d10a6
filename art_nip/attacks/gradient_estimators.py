"""Clones of ART classifiers that give attacks other gradients: of the expectation over a random
defence, as if the defences were not there on the way back, or of what chooses channels as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.attacks.parameters import UnsuitableClassifierError
from art_nip.estimators.clones import clone, clone_with
from art_nip.utils.arrays import namespace, to_numpy
from art_nip.utils.frameworks import Framework, code_of, framework_of
from art_nip.utils.warned import warn
from art_nip.zoo.suppression import auxiliary_logits, suppressing_layers

RANDOM_ABOVE = 1e-4
"""How much two predictions of one image must differ, as a share of its largest score, for anything
to be random: more than the order in which a GPU adds up makes of them."""


NO_GRADIENT = (
    "Gradient term in PyTorch model is `None`",
    "does not require grad",
    "'NoneType' object has no attribute 'numpy'",
)
"""What ART and PyTorch say where nothing that depends on the images reaches the loss."""


class _ZeroWhereThereIsNone:
    """What makes a class of ART classifiers one that takes no gradient for a gradient of zero."""

    def loss_gradient(self, x: Any, y: Any, **keywords: Any) -> Any:
        try:
            found = super().loss_gradient(x, y, **keywords)  # type: ignore[misc]
        except (AttributeError, RuntimeError, ValueError) as error:
            if not any(text in str(error) for text in NO_GRADIENT):
                raise
            found = None
        if found is not None:
            return found
        warn(
            f"This {type(self).__name__}, with its defences, gives the loss no gradient to the "
            "images at all. It counts as zero: attacks by gradients go nowhere. Take bpda, or an "
            "attack without gradients."
        )
        return np.zeros_like(x) if isinstance(x, np.ndarray) else 0 * x


def zero_where_there_is_none(estimator: Any) -> Any:
    """Return a clone whose loss gradient is zero where there is none, as of TensorFlow's rounding.

    ART fails there, on PyTorch and on TensorFlow, with errors about None.

    :param estimator: an ART classifier; one that gives no loss gradients comes back as it is.
    """
    if not hasattr(estimator, "loss_gradient"):
        return estimator
    return clone_with(_ZeroWhereThereIsNone, estimator)


class _Averaged:
    """What makes a class of ART classifiers one whose loss gradients are means over draws."""

    def loss_gradient(self, x: Any, y: Any, **keywords: Any) -> Any:
        state: Any = self
        draw = super().loss_gradient  # type: ignore[misc]
        total = draw(x, y, **keywords)
        if state._draws == 1 or not _is_random(state, x):
            return total
        for _ in range(1, state._draws):
            total = total + draw(x, y, **keywords)
        return total / state._draws


def _is_random(estimator: Any, x: Any) -> bool:
    """Return whether a classifier answers otherwise when it is asked again.

    It is asked anew for all images that come: a defence may be random for some only, and gradients,
    which may be zero of whatever is random, say nothing about it.
    """
    images = to_numpy(x)
    first, second = (np.asarray(estimator.predict(images)) for _ in range(2))
    return differ(first, second)


def differ(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> bool:
    """Return whether two predictions of the same images differ by more than rounding.

    :param first: scores, shape (N, nb_classes).
    :param second: those of the second prediction, likewise.
    """
    scale = np.abs(first).max(axis=1, initial=1e-12)
    return bool((np.abs(first - second).max(axis=1) > RANDOM_ABOVE * scale).any())


def averaged(estimator: Any, draws: int) -> Any:
    """Return a clone whose loss gradients are means over draws of a random defence.

    That is expectation over transformation (EOT; Athalye et al., "Synthesizing robust adversarial
    examples", 2018). Images for which nothing is random, by two predictions of them, cost one draw.

    :param estimator: an ART classifier that gives loss gradients; it stays as it is.
    :param draws: how many.
    """
    other = clone(clone_with(_Averaged, zero_where_there_is_none(estimator)))
    other._draws = draws
    return other


SMALLEST = float(np.finfo(np.float32).tiny)


class _Scaled:
    """What makes a class of ART classifiers one whose loss gradients are neither tiny nor huge."""

    def loss_gradient(self, x: Any, y: Any, **keywords: Any) -> Any:
        found = super().loss_gradient(x, y, **keywords)  # type: ignore[misc]
        xp = namespace(found)
        axes = tuple(range(1, len(found.shape)))
        largest = xp.max(xp.abs(found), axis=axes, keepdims=True)
        return found / (largest + SMALLEST)  # where all is zero, it stays so


def of_one_scale(estimator: Any) -> Any:
    """Return a clone whose loss gradients have 1 for their largest value in each image.

    Where a classifier is sure, gradients are tiny. Their squares vanish in float32, and ART's APGD
    adds 1e-7 to their L2 norm before it divides by it: its steps would vanish too.

    :param estimator: an ART classifier that gives loss gradients; it stays as it is.
    """
    return clone_with(_Scaled, estimator)


def straight_through(estimator: Any) -> Any:
    """Return a clone whose preprocessing defences have the identity for a gradient.

    That is backward pass differentiable approximation (BPDA; Athalye et al., "Obfuscated gradients
    give a false sense of security", 2018). Defences for NumPy are left as they are: ART goes back
    through them by their `estimate_gradient`, which is the identity unless they say otherwise.

    :param estimator: an ART classifier of PyTorch or TensorFlow; it stays as it is.
    """
    other = clone(estimator)
    defences, framework = estimator.preprocessing_defences or [], framework_of(estimator)
    if defences and framework is not None:
        straight = [_straight(defence, framework) for defence in defences]
        other.set_params(preprocessing_defences=straight)
    return other


class _WithAuxiliary:
    """What makes a class of ART classifiers one whose loss counts the auxiliary logits too."""

    def loss_gradient(self, x: Any, y: Any, **keywords: Any) -> Any:
        state: Any = self
        # ART's losses take what the model gives first on PyTorch, and last on TensorFlow.
        of_pytorch = framework_of(state) is Framework.PYTORCH
        name, order = ("_loss", 1) if of_pytorch else ("_loss_object", -1)
        loss = getattr(state, name)
        layers = suppressing_layers(state.model)
        with auxiliary_logits(layers, None) as found:

            def total(*given: Any) -> Any:
                outputs, labels = given[::order]
                # Those of this pass: defences before the model may have asked it too.
                auxiliary = found[-len(layers) :]
                losses = [loss(*(logits, labels)[::order]) for logits in (outputs, *auxiliary)]
                return losses[0] + state._weight * sum(losses[1:])

            setattr(state, name, total)
            try:
                return super().loss_gradient(x, y, **keywords)  # type: ignore[misc]
            finally:
                setattr(state, name, loss)


def with_auxiliary(estimator: Any, weight: float) -> Any:
    """Return a clone whose loss gradients are those of the loss and of the auxiliary logits' loss.

    Channel-wise activation suppressing (`art_nip.zoo.trained_defences.cas`) chooses channels by the
    class that auxiliary logits give, a choice without a gradient. So an attack on the loss alone
    does not see how to change it; its authors attack both (Bai et al., "Improving adversarial
    robustness via channel-wise activation suppressing", 2021).

    :param estimator: an ART classifier of PyTorch or TensorFlow; it stays as it is.
    :param weight: of the auxiliary loss, the loss itself having 1.
    :raises ValueError: if its model has no such logits.
    """
    if not suppressing_layers(getattr(estimator, "model", None)):
        raise UnsuitableClassifierError(
            "The attack on auxiliary logits is made for models with channel-wise activation "
            f"suppressing, and this {type(estimator).__name__} has none: attack it with PGD."
        )
    other = clone(clone_with(_WithAuxiliary, estimator))
    other._weight = weight
    return other


def _straight(defence: Any, framework: Framework) -> Any:
    code = code_of("art_nip.attacks", framework)
    return code.StraightThrough(defence) if code.is_defence(defence) else defence
