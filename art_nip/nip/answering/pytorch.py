"""A PyTorch classifier that gives NIP's answers."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from art_nip.estimators import clones
from art_nip.utils.surrogates import SurrogateLoss


class AnsweringModule(nn.Module):
    """The model and its evidence as one module, which offers surrogate losses to attacks.

    :param nip: a fitted NIP whose retrieval answers.
    """

    def __init__(self, nip: Any) -> None:
        super().__init__()
        self.model = nip._adapter.model
        self._nip = nip

    def forward(self, x: Tensor) -> Tensor:
        """Return scores, shape (N, nb_classes).

        :param x: images in the range that NIP takes, shape (N, *input_shape).
        """
        return self._nip.answers(x)  # type: ignore[no-any-return]

    def surrogate_losses(self, *arguments: Any) -> list[SurrogateLoss]:
        """Return those of NIP; see :class:`art_nip.utils.surrogates.OffersSurrogateLosses`."""
        return self._nip.surrogate_losses(*arguments)  # type: ignore[no-any-return]


def answering(nip: Any, estimator: Any) -> Any:
    """Return the classifier; see `art_nip.nip.answering.answering`."""
    other = clones.clone(estimator)
    other.set_params(preprocessing=None)
    model = other._make_model_wrapper(AnsweringModule(nip))
    vars(other).update(_model=model, _layer_names=model.get_layers)
    return other
