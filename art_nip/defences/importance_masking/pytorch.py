"""A PyTorch model that is run twice: the first pass says which neurons count in the second."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from art_nip.estimators.layers import Layer
from art_nip.estimators.pass_counting import note


class MaskedModule(nn.Module):
    """A model whose neurons are multiplied by the mask of the class that it is about to say.

    :param model: gives logits, shape (N, nb_classes).
    :param layer: its values are the neurons, n for each image.
    :param masks: one for each class, float32, shape (nb_classes, n).
    :param sharpness: the mask is the mean of all, weighted by the softmax of this × logits.
    """

    masks: Tensor

    def __init__(
        self, model: nn.Module, layer: Layer, masks: npt.NDArray[np.float32], sharpness: float
    ) -> None:
        super().__init__()
        self.model = model
        self.layer = str(layer)
        self.sharpness = sharpness
        self.register_buffer("masks", torch.tensor(masks))
        # Not train(): it would change the model's layers too.
        self.training = model.training

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the second pass, shape (N, nb_classes)."""
        # A copy: a model may write to its input, and the second pass is to get the same.
        first = self.model(x.clone())
        self._count(first)
        mask = torch.softmax(self.sharpness * first, dim=1) @ self.masks
        with self._masked_by(mask):
            second: Tensor = self.model(x)
        return second

    @contextmanager
    def _masked_by(self, mask: Tensor) -> Iterator[None]:
        layer = Layer.parse(self.layer)
        module = self.model.get_submodule(layer.name)
        # The model is shared: it may be running in another thread, without a mask or with another.
        own = threading.get_ident()

        def masked(neurons: Any) -> Any:
            return _times(neurons, mask) if threading.get_ident() == own else neurons

        if layer.side == "input":
            handle = module.register_forward_pre_hook(
                lambda _, arguments: (masked(arguments[0]), *arguments[1:])
            )
        else:
            handle = module.register_forward_hook(lambda _, __, output: masked(output))
        try:
            yield
        finally:
            handle.remove()

    def _count(self, outputs: Any) -> None:
        """Count the first pass; the second is counted as that of this module."""
        n = len(outputs)
        note(self, forward=n)
        if outputs.requires_grad:
            outputs.register_hook(lambda _: note(self, backward=n))


def _times(neurons: Tensor, mask: Tensor) -> Tensor:
    return neurons * mask.reshape(neurons.shape)
