"""The few-pixels attack of ART, with its loop over pixels in one step."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.attacks import evasion

from art_nip.attacks.base import Array, Floats, true_or_predicted
from art_nip.utils.validation import check_whole


class PixelAttack(evasion.PixelAttack):  # type: ignore[misc]
    """One-pixel attack of Su et al., "One pixel attack for fooling deep neural networks" (2019),
    on any number of pixels, as ART has it but for a loop over these.
    """

    def __init__(
        self,
        classifier: Any,
        th: int | None = None,
        es: int = 1,
        max_iter: int = 100,
        targeted: bool = False,
        verbose: bool = False,
    ) -> None:
        if th is not None:
            check_whole("th", th, least=1)
        if es not in (0, 1):
            raise ValueError(f"es={es!r}; give 0 (CMA-ES) or 1 (differential evolution).")
        check_whole("max_iter", max_iter, least=1)
        super().__init__(classifier, th, es, max_iter, targeted, verbose)

    def generate(self, x: Array, y: Array | None = None, **kwargs: Any) -> Floats:
        """Return adversarial examples; `y` are true classes, None the predicted ones.

        An image that is wrong already comes back as it was.
        """
        results: Floats = np.array(x, np.float32)
        predicted = self.estimator.predict(results).argmax(axis=1)
        right = predicted == true_or_predicted(predicted, y, self.estimator.nb_classes)
        if right.any():
            # Without labels, as ART refuses them where there are two classes.
            results[right] = super().generate(results[right], None, **kwargs)
        return results

    def _perturb_image(self, x: Array, img: Array) -> Array:
        candidates = np.atleast_2d(x).astype(int)
        pixels = candidates.reshape(len(candidates), -1, 2 + self.img_channels)
        rows, columns = pixels[..., 0] % self.img_rows, pixels[..., 1] % self.img_cols
        images = np.repeat(img[None], len(candidates), axis=0)
        view = np.moveaxis(images, 1, -1) if self.estimator.channels_first else images
        view[np.arange(len(candidates))[:, None], rows, columns] = pixels[..., 2:]
        return images
