"""HopSkipJump of ART, from a start that a seed decides."""

from __future__ import annotations

from typing import Any

from art.attacks import evasion

from art_nip.attacks.base import Array
from art_nip.attacks.noise_start import FromNoise


class HopSkipJump(FromNoise, evasion.HopSkipJump):  # type: ignore[misc]
    """HopSkipJump of Chen et al., "HopSkipJumpAttack: a query-efficient decision-based attack"
    (2020), from the same start and for the same reasons.

    ART's divides by zero where a random defence fools the classifier with the image itself.
    """

    def _attack(self, initial_sample: Array, original_sample: Array, *others: Any) -> Any:
        try:
            return super()._attack(initial_sample, original_sample, *others)
        except _FooledByItselfError:
            return original_sample

    def _compute_update(
        self, current_sample: Array, num_eval: int, delta: float, **others: Any
    ) -> Any:
        if delta == 0:
            raise _FooledByItselfError
        return super()._compute_update(current_sample, num_eval, delta, **others)


class _FooledByItselfError(Exception):
    """There is no way from an image to itself."""
