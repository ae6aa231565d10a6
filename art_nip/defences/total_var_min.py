"""ART's own total variance minimization, image by image; see `total_variance` for one in batches.

Guo et al., "Countering Adversarial Images using Input Transformations", ICLR 2018,
https://arxiv.org/abs/1711.00117.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor import TotalVarMin as ARTTotalVarMin

from art_nip.defences.art_preprocessor import ARTPreprocessor
from art_nip.defences.base import SETTINGS, Settings
from art_nip.utils.validation import check_choice, check_number, check_whole

if TYPE_CHECKING:
    from typing_extensions import Unpack

SOLVERS = ("L-BFGS-B", "CG", "Newton-CG")


class TotalVarMin(ARTPreprocessor):
    """Redraw each image smoothly from a random part of its pixels; ART's, for images of any range.

    The masks are drawn from NumPy's global state.

    :param prob: share of pixels that are kept.
    :param norm: norm of the differences of neighbours, a whole number.
    :param lamb: weight of this norm.
    :param solver: solver of SciPy: "L-BFGS-B", "CG" or "Newton-CG".
    :param max_iter: number of iterations.
    :param settings: see :class:`art_nip.defences.base.ImageDefence`.
    :raises ValueError: if a parameter is not allowed.
    """

    params = [  # noqa: RUF012 - as ART has it
        "prob",
        "norm",
        "lamb",
        "solver",
        "max_iter",
        *SETTINGS,
    ]

    def __init__(
        self,
        prob: float = 0.3,
        norm: int = 2,
        lamb: float = 0.5,
        solver: str = "L-BFGS-B",
        max_iter: int = 10,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.prob = prob
        self.norm = norm
        self.lamb = lamb
        self.solver = solver
        self.max_iter = max_iter
        self._check_params()

    def _check_params(self) -> None:
        super()._check_params()
        check_number("prob", self.prob, low=0, high=1)
        check_number("lamb", self.lamb, low=0)
        check_whole("norm", self.norm, least=1)
        check_whole("max_iter", self.max_iter, least=1)
        check_choice("solver", self.solver, SOLVERS)

    def _defend(self, x: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        # ART takes the last axis for the channels.
        last = np.ascontiguousarray(np.moveaxis(x, 1, -1))
        return np.moveaxis(super()._defend(last), -1, 1)

    def _preprocessor(self) -> ARTTotalVarMin:
        return ARTTotalVarMin(
            float(self.prob), int(self.norm), float(self.lamb), self.solver, int(self.max_iter)
        )
