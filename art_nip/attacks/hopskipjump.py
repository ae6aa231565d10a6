"""HopSkipJump of ART, from a start that a seed decides."""

from __future__ import annotations

from typing import Any

from art.attacks import evasion

from art_nip.attacks.base import Array
from art_nip.attacks.noise_start import FromNoise

HALVINGS = 60
"""After so many halvings of a step nothing is left of it in float32."""


class HopSkipJump(FromNoise, evasion.HopSkipJump):  # type: ignore[misc]
    """HopSkipJump of Chen et al., "HopSkipJumpAttack: a query-efficient decision-based attack"
    (2020), from the same start and for the same reasons.

    ART's never ends where the classifier takes back that an example fools it, as it may where
    rounding decides, or a random defence. Here an image then keeps the last example that fooled.
    """

    _refused: int | None = None
    """How many examples in a row have not fooled the classifier; None between images."""

    def _attack(self, initial_sample: Array, original_sample: Array, *others: Any) -> Any:
        self._fooling, self._refused = original_sample, 0
        try:
            return super()._attack(initial_sample, original_sample, *others)
        except _TakenBackError:
            return self._fooling
        finally:
            del self._fooling, self._refused

    def _adversarial_satisfactory(
        self, samples: Array, target: int, clip_min: float, clip_max: float
    ) -> Any:
        fools = super()._adversarial_satisfactory(samples, target, clip_min, clip_max)
        if self._refused is not None and len(samples) == 1:
            if fools[0]:
                self._fooling, self._refused = samples[0].clip(clip_min, clip_max), 0
            elif self._refused == HALVINGS:
                raise _TakenBackError
            else:
                self._refused += 1
        return fools

    def _compute_update(
        self, current_sample: Array, num_eval: int, delta: float, **others: Any
    ) -> Any:
        # A random defence has fooled the classifier with the image itself: ART divides by zero.
        if delta == 0:
            raise _TakenBackError
        return super()._compute_update(current_sample, num_eval, delta, **others)


class _TakenBackError(Exception):
    """What has fooled the classifier does so no longer."""
