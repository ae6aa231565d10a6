"""Defences whose own gradient differs from the one they give: attacks made for them have it."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy.typing as npt

from art_nip.attacks.stand_ins import loss_of, standing_in
from art_nip.defences.base import ImageDefence
from art_nip.utils.surrogates import Classes, SurrogateLoss

DRAWS = 4
"""Over how many draws gradients are averaged where the defence is random."""


class ExactDefence(ImageDefence):
    """A defence that gives the identity for its gradient, and has another of its own.

    Going back through all that a defence does, its iterations too, has broken defences that seemed
    to withstand approximations (Kassis et al., "DiffBreak: is diffusion-based purification
    robust?", 2025).
    """

    images_at_once: ClassVar[int] = 32
    """How many images' way back through the defence fits into memory at once."""

    def surrogate_losses(
        self, x: npt.ArrayLike, y: Classes, targets: Classes, classifier: Any
    ) -> Sequence[SurrogateLoss]:
        """Return the loss of the defended classifier with the exact gradient, and straight through.

        See :class:`art_nip.utils.surrogates.OffersSurrogateLosses`.
        """
        exact = copy.copy(self)
        exact._is_exact = True
        through = standing_in(classifier, self, exact)
        at_once = min(self.images_at_once, self.batch_size)
        return [
            loss_of(through, x, targets, DRAWS, at_once),
            loss_of(classifier, x, targets, DRAWS),
        ]
