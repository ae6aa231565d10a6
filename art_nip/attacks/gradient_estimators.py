"""Clones of ART classifiers that give attacks other gradients: of the expectation over a random
defence, as if the defences were not there on the way back, or of what chooses channels as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch, PreprocessorTensorFlowV2

from art_nip.estimators.clones import clone, clone_with
from art_nip.zoo.suppression import auxiliary_logits, suppressing_layers


class _Averaged:
    """What makes a class of ART classifiers one whose loss gradients are means over draws."""

    def loss_gradient(self, x: Any, y: Any, **keywords: Any) -> Any:
        state: Any = self
        draw = super().loss_gradient  # type: ignore[misc]
        total = draw(x, y, **keywords)
        if state._draws == 1:
            return total
        second = draw(x, y, **keywords)
        if state._draws_differ is None:
            state._draws_differ = not np.array_equal(_array(total), _array(second))
        if not state._draws_differ:
            state._draws = 1
            return total
        total = total + second
        for _ in range(2, state._draws):
            total = total + draw(x, y, **keywords)
        return total / state._draws


def averaged(estimator: Any, draws: int) -> Any:
    """Return a clone whose loss gradients are means over draws of a random defence.

    That is expectation over transformation (EOT; Athalye et al., "Synthesizing robust adversarial
    examples", 2018). Whether anything is random shows at the first gradient: where two are equal to
    the last bit, one is taken from then on.

    :param estimator: an ART classifier that gives loss gradients; it stays as it is.
    :param draws: how many.
    """
    other = clone(clone_with(_Averaged, estimator))
    other._draws, other._draws_differ = draws, None
    return other


def straight_through(estimator: Any) -> Any:
    """Return a clone whose preprocessing defences have the identity for a gradient.

    That is backward pass differentiable approximation (BPDA; Athalye et al., "Obfuscated gradients
    give a false sense of security", 2018). Defences for NumPy are left as they are: ART goes back
    through them by their `estimate_gradient`, which is the identity unless they say otherwise.

    :param estimator: an ART classifier of PyTorch or TensorFlow; it stays as it is.
    """
    other = clone(estimator)
    straight = [_straight(defence) for defence in estimator.preprocessing_defences or []]
    if straight:
        other.set_params(preprocessing_defences=straight)
    return other


class _WithAuxiliary:
    """What makes a class of ART classifiers one whose loss counts the auxiliary logits too."""

    def loss_gradient(self, x: Any, y: Any, **keywords: Any) -> Any:
        state: Any = self
        # ART's losses take what the model gives first on PyTorch, and last on TensorFlow.
        name, order = ("_loss", 1) if hasattr(state, "_loss") else ("_loss_object", -1)
        loss = getattr(state, name)
        layers = suppressing_layers(state.model)
        with auxiliary_logits(layers, None) as found:

            def total(*given: Any) -> Any:
                outputs, labels = given[::order]
                # Those of this pass: defences before the model may have asked it too.
                auxiliary = found[-len(layers) :]
                losses = [loss(*(each, labels)[::order]) for each in (outputs, *auxiliary)]
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
    if not suppressing_layers(estimator.model):
        raise ValueError(
            "The attack on auxiliary logits is made for models with channel-wise activation "
            f"suppressing, and this {type(estimator).__name__} has none: attack it with PGD."
        )
    other = clone(clone_with(_WithAuxiliary, estimator))
    other._weight = weight
    return other


def _straight(defence: Any) -> Any:
    for base, kind in (
        (PreprocessorPyTorch, _StraightPyTorch),
        (PreprocessorTensorFlowV2, _StraightTensorFlowV2),
    ):
        if isinstance(defence, base):
            return kind(defence)
    return defence


class _StraightPyTorch(PreprocessorPyTorch):  # type: ignore[misc]
    def __init__(self, defence: Any) -> None:
        super().__init__(
            is_fitted=True, apply_fit=defence.apply_fit, apply_predict=defence.apply_predict
        )
        self._defence = defence

    def forward(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        defended, y = self._defence.forward(x.detach(), y)
        return defended.detach() + (x - x.detach()), y


class _StraightTensorFlowV2(PreprocessorTensorFlowV2):  # type: ignore[misc]
    def __init__(self, defence: Any) -> None:
        super().__init__(
            is_fitted=True, apply_fit=defence.apply_fit, apply_predict=defence.apply_predict
        )
        self._defence = defence

    def forward(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        import tensorflow as tf

        fixed = tf.stop_gradient(x)
        defended, y = self._defence.forward(fixed, y)
        return tf.stop_gradient(defended) + (x - fixed), y


def _array(gradient: Any) -> Any:
    return gradient.detach().cpu().numpy() if hasattr(gradient, "detach") else np.asarray(gradient)
