"""JSMA towards the class with the second-highest score, as ART has it but for the target."""

from __future__ import annotations

from typing import Any

from art.attacks import evasion

from art_nip.attacks.base import Array, Floats


class SaliencyMapMethod(evasion.SaliencyMapMethod):  # type: ignore[misc]
    """JSMA of Papernot et al., "The limitations of deep learning in adversarial settings" (2016),
    towards the class with the second-highest score.

    ART's takes labels for the classes to reach, and without them draws these at random.
    """

    def generate(self, x: Array, y: Array | None = None, **kwargs: Any) -> Floats:
        """Return adversarial examples; `y` is not used."""
        scores = self.estimator.predict(x, batch_size=self.batch_size)
        adversarial: Floats = super().generate(x, scores.argsort(axis=1)[:, -2], **kwargs)
        return adversarial
