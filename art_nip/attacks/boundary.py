"""The boundary attack of ART, from a start that a seed decides."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
from art.attacks import evasion

from art_nip.attacks.noise_start import FromNoise

Array = npt.NDArray[Any]


class BoundaryAttack(FromNoise, evasion.BoundaryAttack):  # type: ignore[misc]
    """Boundary attack of Brendel et al., "Decision-based adversarial attacks" (2018), from additive
    noise, as Foolbox starts it.

    ART's starts from plain noise, further away, and not the same twice for one seed.
    """
