"""Feature squeezing by reduction of colour bit depth.

Xu et al., "Feature Squeezing: Detecting Adversarial Examples in Deep Neural Networks", NDSS 2018,
https://arxiv.org/abs/1704.01155.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from art.defences.preprocessor import FeatureSqueezing as ARTFeatureSqueezing

from art_nip.defences.art_preprocessor import AttackedPreprocessor
from art_nip.defences.base import SETTINGS, Settings
from art_nip.utils.validation import check_whole

if TYPE_CHECKING:
    from typing_extensions import Unpack

MOST_BITS = 64


class FeatureSqueezing(AttackedPreprocessor):
    """Round each value to one of 2^`bit_depth` levels of the range; ART's, in float32.

    :param bit_depth: number of bits that are left of a value, from 1 to 64.
    :param settings: see :class:`art_nip.defences.base.ImageDefence`; `clip_values` are needed.
    :raises ValueError: if a parameter is not allowed.
    """

    params = ["bit_depth", *SETTINGS]  # noqa: RUF012 - as ART has it
    needs_clip_values = True

    def __init__(self, bit_depth: int = 8, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.bit_depth = bit_depth
        self._check_params()

    def _check_params(self) -> None:
        super()._check_params()
        check_whole("bit_depth", self.bit_depth, least=1, most=MOST_BITS)

    def _preprocessor(self) -> ARTFeatureSqueezing:
        return ARTFeatureSqueezing((0.0, 1.0), int(self.bit_depth))
