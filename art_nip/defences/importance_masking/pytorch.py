"""A PyTorch model that is run twice: the first pass says which neurons count in the second."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from art_nip.estimators.layers import Layer
from art_nip.estimators.pass_counting import counters
from art_nip.estimators.pytorch import count, passing_through


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
        with passing_through(self.model, Layer.parse(self.layer), lambda x: _times(x, mask)):
            second: Tensor = self.model(x)
        return second

    def _count(self, outputs: Any) -> None:
        """Count the first pass; the second is counted as that of this module."""
        for passes in counters(self):
            count(passes, outputs)


def _times(neurons: Tensor, mask: Tensor) -> Tensor:
    return neurons * mask.reshape(neurons.shape)
