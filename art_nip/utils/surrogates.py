"""Surrogate losses: what a defence says of how it is led astray, for an attack that is made for it.

Gradients through a defence may mislead: it rounds, chooses, or changes an image for as long as it
takes. Whoever knows the defence knows better losses. Tramèr et al., "On adaptive attacks to
adversarial example defenses" (2020), ask that an attack be made for each defence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Classes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SurrogateLoss:
    """A part of a defended classifier, or a stand-in for all of it, as an attack sees it.

    :param scores: a function that returns what the part says of the classes, float32, shape
        (N, nb_classes): classes that score high are the nearest targets.
    :param gradient: a function that returns the gradient to x of what grows as the part turns to
        the targets, float32, shape of x. Its length means nothing; it may be zero where the part
        gives an image its target already.
    """

    scores: Callable[[], Floats]
    gradient: Callable[[], Floats]


@runtime_checkable
class OffersSurrogateLosses(Protocol):
    """What a preprocessor or a classifier is that has an attack of its own.

    The attack "steering" (:class:`art_nip.attacks.steering.SteeringAttack`) follows the losses
    alone, together and in turn, and the adaptive suite runs it on whatever offers them.
    """

    def surrogate_losses(
        self, x: npt.ArrayLike, y: Classes, targets: Classes, classifier: Any
    ) -> Sequence[SurrogateLoss]:
        """Return the losses, the one that matters most first, as many at every call.

        :param x: images, shape (N, *input_shape), in the range of `clip_values`; as many as fit
            into memory at once.
        :param y: their true classes, shape (N,).
        :param targets: the class to lead each image to, shape (N,).
        :param classifier: the ART classifier under attack, with all its defences; for those that do
            not know what they defend.
        """
        ...
