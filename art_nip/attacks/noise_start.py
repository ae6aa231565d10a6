"""Attacks of ART that start from additive noise, as Foolbox starts them."""

from __future__ import annotations

from typing import Any

from art_nip.attacks.auna import AdditiveUniformNoise
from art_nip.attacks.base import Array, Floats


class FromNoise:
    """What makes an attack of ART one that starts from additive noise."""

    def generate(self, x: Array, y: Array | None = None, **kwargs: Any) -> Floats:
        """Return images moved out of the class that is predicted for them; `y` is not used."""
        attack: Any = self
        noise = AdditiveUniformNoise(
            attack.estimator, repeats=1, batch_size=attack.batch_size, verbose=False
        )
        generate = super().generate  # type: ignore[misc]
        adversarial: Floats = generate(x, y, x_adv_init=noise.generate(x), **kwargs)
        return adversarial
