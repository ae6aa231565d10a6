"""One perturbation for all images, which keeps what clipping hides."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.attacks import evasion
from art.utils import projection

from art_nip.attacks.base import Array, Floats, Mask, true_or_predicted
from art_nip.attacks.labels import labels_for, takes_true_classes
from art_nip.utils.validation import check_choice


class UniversalPerturbation(evasion.UniversalPerturbation):  # type: ignore[misc]
    """Universal perturbation of Moosavi-Dezfooli et al., "Universal adversarial perturbations"
    (2017).

    ART's forgets, with each image, what of the perturbation that image's clipping hides, and shows
    the classifier images outside the clip range, which defences such as JPEG compression refuse.
    """

    def _check_params(self) -> None:
        super()._check_params()
        check_choice("attacker", self.attacker, tuple(self.attacks_dict))
        # Making it checks its own parameters, and this whether it leads away from true classes.
        takes_true_classes(self._get_attack(self.attacker, self.attacker_params))

    def _get_attack(self, a_name: str, params: dict[str, Any] | None = None) -> Any:
        attack = super()._get_attack(a_name, params)
        if "verbose" in attack.attack_params:
            attack.set_params(verbose=self.verbose)
        return attack

    def generate(self, x: Array, y: Array | None = None, **kwargs: Any) -> Floats:
        """Return the images with one perturbation added to all, within the clip range."""
        images = x.astype(np.float32)
        attacker = self._get_attack(self.attacker, self.attacker_params)
        size = self.batch_size
        predicted = self.estimator.predict(images, batch_size=size).argmax(axis=1)
        labels = true_or_predicted(predicted, y, self.estimator.nb_classes)
        noise = np.zeros_like(images[:1])

        def perturbed(rows: Any) -> Floats:
            some: Floats = np.clip(images[rows] + noise, *self.estimator.clip_values)
            return some

        def fooled(some: Floats, rows: Any) -> Mask:
            mask: Mask = (
                self.estimator.predict(some, batch_size=size).argmax(axis=1) != labels[rows]
            )
            return mask

        everything = slice(None)
        for _ in range(self.max_iter):
            for row in np.random.permutation(len(x)):  # noqa: NPY002 - as ART's attacks draw
                start = perturbed([row])
                if fooled(start, [row]):
                    continue
                adversarial = attacker.generate(start, labels_for(attacker, labels[[row]]))
                if fooled(adversarial, [row]):
                    noise = projection(noise + adversarial - start, self.eps, self.norm)
            if fooled(perturbed(everything), everything).mean() >= 1 - self.delta:
                break
        self._noise = noise
        return perturbed(everything)
