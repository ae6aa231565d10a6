"""The data for a retrieval and its evidence: the model, the images' range, and the fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.nip.bank import Fitted
from art_nip.utils.ranges import PixelRange


@dataclass(frozen=True)
class Context:
    """The data that a retrieval and its evidence are given.

    :param adapter: the model.
    :param clip_values: range (min, max) of the images, numbers or nested lists.
    :param fractions: shares of the front, middle and tail part.
    :param fitted: the fit; None before fitting.
    :param look: precision of the pass that finds an image's perturbation.
    """

    adapter: EstimatorAdapter
    clip_values: tuple[Any, Any]
    fractions: tuple[float, float, float]
    fitted: Fitted | None = None
    look: str = "float32"

    @cached_property
    def pixels(self) -> PixelRange:
        """Range of the images, on the model's device."""
        return PixelRange.of(self.clip_values, self.adapter.tensor)

    @cached_property
    def looking(self) -> EstimatorAdapter:
        """The model as readers look at it to find a perturbation: in the precision `look`."""
        return self.adapter.in_precision(self.look)

    @property
    def fit(self) -> Fitted:
        """The fit.

        :raises RuntimeError: if nothing was fitted.
        """
        if self.fitted is None:
            raise RuntimeError("A reader was asked for before there was a fit.")
        return self.fitted

    @property
    def learned(self) -> Mapping[str, npt.NDArray[Any]]:
        """What `learn` returned, arrays by name."""
        return self.fit.learned
