"""The boundary attack of ART, from a start that a seed decides."""

from __future__ import annotations

from art.attacks import evasion

from art_nip.attacks.noise_start import FromNoise


class BoundaryAttack(FromNoise, evasion.BoundaryAttack):  # type: ignore[misc]
    """Boundary attack of Brendel et al., "Decision-based adversarial attacks" (2018), from additive
    noise, as Foolbox starts it.

    ART's starts from plain noise, further away, and not the same twice for one seed.
    """
