"""Attacks of ART that start from additive noise, as Foolbox starts them."""

from __future__ import annotations

from typing import Any

from art_nip.attacks.auna import AdditiveUniformNoise
from art_nip.attacks.base import Array, Floats
from art_nip.utils.seeds import generator


class FromNoise:
    """What makes an attack of ART one that starts from additive noise.

    Where that does not fool the classifier, plain noise is drawn as ART does, but so that a seed
    decides it.
    """

    def generate(self, x: Array, y: Array | None = None, **kwargs: Any) -> Floats:
        """Return images moved out of the class that is predicted for them; `y` is not used."""
        attack: Any = self
        noise = AdditiveUniformNoise(
            attack.estimator, repeats=1, batch_size=attack.batch_size, verbose=False
        )
        generate = super().generate  # type: ignore[misc]
        adversarial: Floats = generate(x, y, x_adv_init=noise.generate(x), **kwargs)
        return adversarial

    def _init_sample(
        self, x: Array, y: int, y_p: int, init_pred: int, adv_init: Array, *others: Any
    ) -> Any:
        """Return where the attack of an image begins, and a class; None if nothing fools."""
        attack: Any = self
        low, high = others[-2:]
        if init_pred == y_p:
            rng = generator(None)
            for _ in range(attack.init_size):
                adv_init = rng.uniform(low, high, x.shape).astype(x.dtype)
                init_pred = attack.estimator.predict(adv_init[None])[0].argmax()
                if init_pred != y_p:
                    break
            else:
                return None
        begin = super()._init_sample  # type: ignore[misc]
        return begin(x, y, y_p, init_pred, adv_init, *others)
