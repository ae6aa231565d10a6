"""ART's defences for NumPy, on images of any range and order of axes.

ART's own classes insist on a range, depend on the unit of the images, return float64 or take one
axis for the channels. Here each class gets the images it was made for: those in [0, 1].
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor.preprocessor import Preprocessor

from art_nip.attacks.art_defences import gradient_of, in_order, led_through
from art_nip.defences.base import ImageDefence
from art_nip.utils.surrogates import Classes, Floats, SurrogateLoss


class ARTPreprocessor(ImageDefence):
    """A preprocessor of ART behind the settings and the checks of the defences here."""

    def _defend(self, x: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        return np.asarray(self._preprocessor()(x)[0], np.float32)

    def _check_size(self, channels: int, height: int, width: int) -> None:
        """Accept any size."""

    @abstractmethod
    def _preprocessor(self) -> Preprocessor:
        """Return ART's preprocessor, for images of range 0 to 1 with channels first."""


class AttackedPreprocessor(ARTPreprocessor):
    """A preprocessor of ART for which an attack was made: its own gradient is known."""

    def surrogate_losses(
        self, x: npt.ArrayLike, y: Classes, targets: Classes, classifier: Any
    ) -> Sequence[SurrogateLoss]:
        """Return the loss with the defence's own gradient, and with the identity.

        See :class:`art_nip.utils.surrogates.OffersSurrogateLosses`.
        """
        return led_through(self, self._gradient, x, targets, classifier)

    def _gradient(self, x: Floats, grad: Floats) -> Floats:
        """Return the gradient to images from that to the defended ones, in the user's form."""
        pixel_range = self._pixel_range(x)
        of_art = gradient_of(self._preprocessor())

        def gradient(unit: Floats, grad: Floats) -> Floats:
            return of_art(self._prepared(unit), grad)

        found = in_order(self, gradient, pixel_range.unit(x), grad * pixel_range.span)
        return np.asarray(found / pixel_range.span, np.float32)

    def _prepared(self, x: Floats) -> Floats:
        """Return what ART's preprocessor is given for images in [0, 1]."""
        return x
