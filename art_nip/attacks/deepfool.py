"""DeepFool as its authors wrote it; ART's does not do what they wrote."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.attacks import evasion

from art_nip.attacks.base import Array, Floats
from art_nip.utils.validation import check_number, check_whole


class DeepFool(evasion.DeepFool):  # type: ignore[misc]
    """DeepFool of Moosavi-Dezfooli et al., "DeepFool: a simple and accurate method to fool deep
    neural networks" (2016), as its authors wrote it.

    ART's scales its steps by the clip range, which they are in already, reads wrong rows when
    `nb_grads` is less than the number of classes, and goes on with images that are fooled. On
    TensorFlow it takes from ART gradients that leave out preprocessing and defences.

    `nb_grads` is how many classes are looked at, those with the highest scores: the image's own and
    those that it may be moved to, so at least 2.
    """

    def _check_params(self) -> None:
        super()._check_params()
        check_whole("nb_grads", self.nb_grads, least=2)  # one class has no other to be moved to
        check_whole("max_iter", self.max_iter, least=1)
        check_number("epsilon", self.epsilon, 0)

    def generate(self, x: Array, y: Array | None = None, **kwargs: Any) -> Floats:
        """Return images moved out of the class that is predicted for them; `y` is not used."""
        results: Floats = x.astype(np.float32)
        for start in range(0, len(x), self.batch_size):
            batch = slice(start, start + self.batch_size)
            results[batch] = self._moved(results[batch])
        return results

    def _moved(self, x: Floats) -> Floats:
        low, high = self.estimator.clip_values
        moved: Floats = x.copy()
        total = np.zeros_like(x)
        scores = self.estimator.predict(x)
        labels, active = scores.argmax(axis=1), np.arange(len(x))
        for _ in range(self.max_iter):
            total[active] += self._step(moved[active], scores)
            moved[active] = np.clip(x[active] + (1 + self.epsilon) * total[active], low, high)
            scores = self.estimator.predict(moved[active])
            resisting = scores.argmax(axis=1) == labels[active]
            active, scores = active[resisting], scores[resisting]
            if not len(active):
                break
        return moved

    def _step(self, x: Floats, scores: Floats) -> Floats:
        """Return the shortest way to the nearest class if the classifier were linear."""
        classes = np.argsort(-scores, axis=1)[:, : self.nb_grads]
        gradients = np.empty((*classes.shape, *x.shape[1:]), np.float32)
        for label in np.unique(classes):
            rows, places = np.nonzero(classes == label)
            # Not for all classes at once: on TensorFlow these would be wrong, see above.
            gradients[rows, places] = self.estimator.class_gradient(x[rows], int(label))[:, 0]
        normals = (gradients[:, 1:] - gradients[:, :1]).reshape(len(x), classes.shape[1] - 1, -1)
        ranked = np.take_along_axis(scores, classes, axis=1)
        lengths = np.linalg.norm(normals, axis=2) + 1e-8
        distances = (ranked[:, :1] - ranked[:, 1:]) / lengths
        nearest = (np.arange(len(x)), distances.argmin(axis=1))
        # The authors' 1e-4: from the border itself, no step would lead across.
        scale = (distances[nearest] + 1e-4) / lengths[nearest]
        step: Floats = (scale[:, None] * normals[nearest]).reshape(x.shape)
        return step
