"""A PyTorch model that runs twice: the first pass chooses the neurons that count in the second."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from art_nip.attacks.stand_ins import loss_of
from art_nip.defences.importance_masking import with_model
from art_nip.estimators.layers import Layer
from art_nip.estimators.pass_counting import counters
from art_nip.estimators.pytorch import count, passing_through
from art_nip.utils.surrogates import Classes, SurrogateLoss


class MaskedModule(nn.Module):
    """A model whose neurons are multiplied by the mask of the class that it is about to predict.

    :param model: a model that gives logits, shape (N, nb_classes).
    :param layer: the layer whose values are the neurons, n for each image.
    :param masks: a mask for each class, float32, shape (nb_classes, n).
    :param sharpness: the mask used is the mean of all masks, weighted by the softmax of
        `sharpness` × logits.
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
        # train() is not called: it would change the model's layers too.
        self.training = model.training

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of the second pass, shape (N, nb_classes)."""
        # A copy: a model may write to its input, and the second pass must get the same images.
        first = self.model(x.clone())
        self._count(first)
        return self.second(x, torch.softmax(self.sharpness * first, dim=1) @ self.masks)

    def second(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the logits of a pass whose neurons are multiplied by masks, shape (N, n)."""
        with passing_through(self.model, Layer.parse(self.layer), lambda x: _times(x, mask)):
            logits: Tensor = self.model(x)
        return logits

    def surrogate_losses(
        self, x: npt.ArrayLike, y: Classes, targets: Classes, classifier: Any
    ) -> Sequence[SurrogateLoss]:
        """Return the losses of both passes, of the second one with the target's mask, and of the
        first one.

        See :class:`art_nip.utils.surrogates.OffersSurrogateLosses`. A mask is chosen so sharply
        that the choice has hardly a gradient; who leads the first pass to the target has its mask.
        """
        chosen = _Masked(self, self.masks[targets])
        return [
            loss_of(classifier, x, targets),
            # One batch: there is a mask for each image.
            loss_of(with_model(classifier, chosen), x, targets, batch_size=len(targets)),
            loss_of(with_model(classifier, self.model), x, targets),
        ]

    def _count(self, outputs: Any) -> None:
        """Count the first pass; the second pass is counted as the pass of this module."""
        for passes in counters(self):
            count(passes, outputs)


class _Masked(nn.Module):
    """The second pass alone, with a mask for each image of the one batch that it is given."""

    def __init__(self, both: MaskedModule, mask: Tensor) -> None:
        super().__init__()
        self.both, self.mask = both, mask
        self.training = both.training

    def forward(self, x: Tensor) -> Tensor:
        return self.both.second(x, self.mask)


def _times(neurons: Tensor, mask: Tensor) -> Tensor:
    return neurons * mask.reshape(neurons.shape)
