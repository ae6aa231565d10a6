"""Spatial smoothing, a median filter.

Xu et al., "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018,
https://arxiv.org/abs/1704.01155.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from art.defences.preprocessor import SpatialSmoothing as ARTSpatialSmoothing

from art_nip.defences.art_preprocessor import AttackedPreprocessor
from art_nip.defences.base import SETTINGS, Settings
from art_nip.utils.validation import check_whole

if TYPE_CHECKING:
    from typing_extensions import Unpack


class SpatialSmoothing(AttackedPreprocessor):
    """Replace each value by the median of its neighbourhood; ART's, for images of any range.

    :param window_size: height and width of the neighbourhood, at least 1.
    :param settings: see :class:`art_nip.defences.base.ImageDefence`.
    :raises ValueError: if a parameter is not allowed.
    """

    params = ["window_size", *SETTINGS]  # noqa: RUF012 - as ART has it

    def __init__(self, window_size: int = 3, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.window_size = window_size
        self._check_params()

    def _check_params(self) -> None:
        super()._check_params()
        check_whole("window_size", self.window_size, least=1)

    def _preprocessor(self) -> ARTSpatialSmoothing:
        return ARTSpatialSmoothing(int(self.window_size), channels_first=True)
