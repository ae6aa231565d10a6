"""ART's defences for NumPy, on images of any range and order of axes.

ART's own classes insist on a range, depend on the unit of the images, return float64 or take one
axis for the channels. Here each class gets the images it was made for: those in [0, 1].
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor.preprocessor import Preprocessor

from art_nip.defences.base import ImageDefence


class ARTPreprocessor(ImageDefence):
    """A preprocessor of ART behind the settings and the checks of the defences here."""

    def _defend(self, x: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        return np.asarray(self._preprocessor()(x)[0], np.float32)

    def _check_size(self, channels: int, height: int, width: int) -> None:
        """Accept any size."""

    @abstractmethod
    def _preprocessor(self) -> Preprocessor:
        """Return ART's preprocessor, for images of range 0 to 1 with channels first."""
