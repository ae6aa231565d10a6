"""An ART `PyTorchClassifier` as a module: defences, mean and std, model."""

from __future__ import annotations

from threading import RLock
from typing import Any

import numpy as np
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import PyTorchClassifier
from art.preprocessing.standardisation_mean_std.pytorch import StandardisationMeanStdPyTorch
from torch import Tensor, nn

from art_nip.estimators.module.steps import check_predicts_as, check_shape, steps_of
from art_nip.utils.ranges import PixelRange


class ClassifierModule(nn.Module):
    """See `art_nip.as_module`, which makes it. `state_dict` holds the model's weights.

    In training mode the model is as ART's `predict(…, training_mode=True)` has it, and the defences
    as ever.

    :param classifier: a `PyTorchClassifier`.
    :param steps: what comes before its model.
    :param unit_images: whether images come in [0, 1].
    """

    def __init__(
        self, classifier: PyTorchClassifier, steps: tuple[Any, ...], unit_images: bool
    ) -> None:
        super().__init__()
        self.model = classifier.model
        self._input_shape = tuple(classifier.input_shape)
        self._clip_values = classifier.clip_values if unit_images else None
        self._steps = steps
        # In a tuple, so that it is no submodule: replicas of DataParallel keep it, and have no
        # parameters of their own to ask for their type.
        self._original = (classifier.model,)
        self._lock = RLock()
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the model's outputs, shape (N, nb_classes).

        :param images: of a floating-point type, on the model's device, shape (N, *input_shape).
        :raises TypeError: if they are no floating-point tensor, or the model gives no tensor.
        :raises ValueError: if they have another shape.
        """
        self._check(images)
        dtype = next((p.dtype for p in self._original[0].parameters()), torch.float32)
        # A copy: the model may work in place.
        x = images.to(torch.float64 if dtype == torch.float64 else torch.float32, copy=True)
        if self._clip_values is not None:
            x = PixelRange.of(self._clip_values, x.new_tensor).pixels(x)
        # Defences may look into the model by hooks, which replicas of DataParallel share.
        with self._lock:
            self._set_mode()
            for step in self._steps:
                x = _applied(step, x)
            outputs = self._outputs(x.to(dtype))
        if not isinstance(outputs, Tensor):
            raise TypeError(
                f"The model gives a {type(outputs).__name__}, and ART's predict needs one tensor: "
                "wrap the model in a module that returns its logits alone."
            )
        return outputs if outputs.ndim > 1 else outputs[:, None]

    def _check(self, images: Any) -> None:
        if not isinstance(images, Tensor) or not images.is_floating_point():
            given = images.dtype if isinstance(images, Tensor) else type(images).__name__
            raise TypeError(
                f"The module takes floating-point tensors of images, and was given {given}: "
                "convert them, to the range of the classifier's clip_values."
            )
        check_shape(tuple(images.shape), self._input_shape)

    def _set_mode(self) -> None:
        # ART shares the model; its fit leaves it in training mode, its predict in the other.
        if self.training:
            if not self.model.training:
                self.model.train()
        elif any(part.training for part in self.model.modules()):
            self.model.eval()

    def _outputs(self, x: Tensor) -> Any:
        # ART calls the modules of a Sequential itself, whatever `forward` a subclass has.
        for part in self.model if isinstance(self.model, nn.Sequential) else (self.model,):
            x = part(x)
        return x

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._lock = RLock()


class _StraightThrough(torch.autograd.Function):
    """A defence for NumPy, with ART's estimate of its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, defence: Any) -> Tensor:
        ctx.images, ctx.defence = x.detach().cpu().numpy(), defence
        return torch.from_numpy(np.ascontiguousarray(defence(ctx.images)[0])).to(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        (gradient,) = gradients
        estimated = ctx.defence.estimate_gradient(ctx.images, gradient.cpu().numpy())
        return torch.from_numpy(np.ascontiguousarray(estimated)).to(gradient), None


def module_of(classifier: Any, straight_through: bool, unit_images: bool) -> ClassifierModule:
    """Return the module of a classifier; parameters and errors as of `art_nip.as_module`."""
    check_predicts_as(classifier, PyTorchClassifier)
    kinds = (PreprocessorPyTorch, StandardisationMeanStdPyTorch)
    return ClassifierModule(classifier, steps_of(classifier, *kinds, straight_through), unit_images)


def _applied(step: Any, x: Tensor) -> Tensor:
    if isinstance(step, PreprocessorPyTorch):
        # ART's preprocessors stay on the device that they were made for.
        return step.forward(x.to(step.device))[0].to(x)  # type: ignore[no-any-return]
    return _StraightThrough.apply(x, step)  # type: ignore[no-any-return, no-untyped-call]
