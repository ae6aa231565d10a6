"""JPEG compression.

Das et al., "Keeping the Bad Guys Out: Protecting and Vaccinating Deep Learning with JPEG
Compression", 2017, https://arxiv.org/abs/1705.02900.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor import JpegCompression as ARTJpegCompression

from art_nip.defences.art_preprocessor import AttackedPreprocessor
from art_nip.defences.base import SETTINGS, Settings
from art_nip.utils.optional import require
from art_nip.utils.validation import check_whole

if TYPE_CHECKING:
    from typing_extensions import Unpack

BEST_QUALITY = 100
LEVELS = 255

NOISE = 2.0**-12
"""The part of a level that rounding may take when images are converted to the range [0, 1]."""


class JpegCompression(AttackedPreprocessor):
    """Compress each image as a JPEG file and read it again; ART's, for images of any range.

    Values are rounded down to one of 256 levels, as ART does. In another range than [0, 1], what is
    below a level by no more than the noise of float32 counts as that level, so that images of 8
    bits are compressed alike in every range. Three channels are compressed as RGB. Any other
    number of channels are compressed one by one, as grey.

    :param quality: quality of the file, from 1 to 100.
    :param settings: see :class:`art_nip.defences.base.ImageDefence`; `clip_values` are needed.
    :raises ValueError: if a parameter is not allowed.
    :raises ImportError: if Pillow is not installed.
    """

    params = ["quality", *SETTINGS]  # noqa: RUF012 - as ART has it
    needs_clip_values = True

    def __init__(self, quality: int = 50, **settings: Unpack[Settings]) -> None:
        require("PIL.Image", to="compress images as JPEG", install="Pillow")
        super().__init__(**settings)
        self.quality = quality
        self._check_params()

    def _check_params(self) -> None:
        super()._check_params()
        check_whole("quality", self.quality, least=1, most=BEST_QUALITY)

    def _defend(self, x: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        return np.asarray(super()._defend(self._prepared(x)) / np.float32(LEVELS))

    def _prepared(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        # Images that are in [0, 1] already need no correction: nothing was lost to conversion.
        lost = (
            0.0
            if self.clip_values is not None and np.array_equal(self.clip_values, (0, 1))
            else NOISE
        )
        # In ART's range of 0 to 255 the levels are whole numbers, to which it rounds down.
        levels: npt.NDArray[np.float32] = np.floor(x.clip(0, 1) * LEVELS + lost)
        return levels

    def _preprocessor(self) -> ARTJpegCompression:
        return ARTJpegCompression((0, LEVELS), int(self.quality), channels_first=True)
