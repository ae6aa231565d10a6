"""What attacks need of PyTorch: the identity on the way back through a defence, constants,
logits of probabilities, and a small classifier to try parameters on.
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import PyTorchClassifier

from art_nip.estimators.pytorch.scores import logits_of


class StraightThrough(PreprocessorPyTorch):  # type: ignore[misc]
    """A defence whose gradient is that of the identity.

    :param defence: a defence of PyTorch.
    """

    def __init__(self, defence: Any) -> None:
        super().__init__(
            is_fitted=True, apply_fit=defence.apply_fit, apply_predict=defence.apply_predict
        )
        self._defence = defence

    def forward(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        """Return the defended images, of which x counts as the only part that changes with x."""
        defended, y = self._defence.forward(x.detach(), y)
        return defended.detach() + (x - x.detach()), y


def is_defence(defence: Any) -> bool:
    """Return whether a preprocessor is one of PyTorch."""
    return isinstance(defence, PreprocessorPyTorch)


def constant_beside(tensor: torch.Tensor, value: npt.ArrayLike) -> torch.Tensor:
    """Return a number or an array as a tensor of the kind and on the device of another."""
    return torch.as_tensor(value, dtype=tensor.dtype, device=tensor.device)


class _Logits(torch.nn.Module):
    """A model that gives logits, of one that gives probabilities.

    :param model: the model, which is shared.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self._given = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logarithms of the probabilities."""
        return logits_of(self._given(x))


def giving_logits(estimator: Any) -> Any:
    """Return a classifier that gives logits, of one that gives probabilities, with its defences."""
    return PyTorchClassifier(
        _Logits(estimator.model),
        torch.nn.CrossEntropyLoss(),
        estimator.input_shape,
        estimator.nb_classes,
        channels_first=estimator.channels_first,
        clip_values=estimator.clip_values,
        preprocessing_defences=estimator.preprocessing_defences,
        postprocessing_defences=estimator.postprocessing_defences,
        preprocessing=estimator.preprocessing,
        device_type=str(estimator.device),
    )


def small_classifier() -> Any:
    """Return a classifier of four classes of images of 4×4, which draws no random numbers."""
    linear: Any = torch.nn.Linear(16, 4, device="meta").to_empty(device="cpu")
    model = torch.nn.Sequential(torch.nn.Flatten(), linear)
    with torch.no_grad():
        linear.weight.copy_(torch.arange(64.0).reshape(4, 16) % 7 - 3)
        linear.bias.copy_(torch.arange(4.0))
    loss = torch.nn.CrossEntropyLoss()
    return PyTorchClassifier(
        model.eval(), loss, (1, 4, 4), 4, clip_values=(0, 1), device_type="cpu"
    )
