"""ART's attacks where they do not do what their name says, or not with true labels; mended.

Each is the attack of ART but for what its docstring names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from art.attacks import evasion
from art.utils import projection

from art_nip.attacks.adaptive import AutoProjectedGradientDescent
from art_nip.attacks.auna import AdditiveUniformNoise
from art_nip.utils.validation import class_indices

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


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


class DeepFool(evasion.DeepFool):  # type: ignore[misc]
    """DeepFool of Moosavi-Dezfooli et al., "DeepFool: a simple and accurate method to fool deep
    neural networks" (2016), as its authors wrote it.

    ART's scales its steps by the clip range, which they are in already, reads wrong rows when
    `nb_grads` is less than the number of classes, and goes on with images that are fooled. On
    TensorFlow it takes from ART gradients that leave out preprocessing and defences.

    `nb_grads` is how many classes, those with the highest scores, an image may be moved to.
    """

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


class UniversalPerturbation(evasion.UniversalPerturbation):  # type: ignore[misc]
    """Universal perturbation of Moosavi-Dezfooli et al., "Universal adversarial perturbations"
    (2017).

    ART's forgets, with each image, what of the perturbation that image's clipping hides, and shows
    the classifier images outside the clip range, which defences such as JPEG compression refuse.
    """

    def generate(self, x: Array, y: Array | None = None, **kwargs: Any) -> Floats:
        """Return the images with one perturbation added to all, within the clip range."""
        images = x.astype(np.float32)
        attacker = self._get_attack(self.attacker, self.attacker_params)
        size, nb_classes = self.batch_size, self.estimator.nb_classes
        labels = (
            self.estimator.predict(images, batch_size=size).argmax(axis=1)
            if y is None
            else class_indices(y, len(x), nb_classes)
        )
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
                adversarial = attacker.generate(start, labels[[row]])
                if fooled(adversarial, [row]):
                    noise = projection(noise + adversarial - start, self.eps, self.norm)
            if fooled(perturbed(everything), everything).mean() >= 1 - self.delta:
                break
        self._noise = noise
        return perturbed(everything)


class AutoAttack(evasion.AutoAttack):  # type: ignore[misc]
    """AutoAttack of Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble
    of diverse parameter-free attacks" (2020), in ART's choice: APGD on cross-entropy and on the
    difference of logits ratio, DeepFool (its authors take FAB) and Square, each on the images that
    resisted those before it.

    ART's shows progress bars, has its own DeepFool and APGD, and none of the parameters:

    :param max_iter: steps of APGD and DeepFool.
    :param nb_restarts: of APGD and Square.
    :param max_queries: steps of Square.
    """

    def __init__(
        self,
        estimator: Any,
        norm: float | str = np.inf,
        eps: float = 0.3,
        eps_step: float = 0.1,
        max_iter: int = 100,
        nb_restarts: int = 5,
        max_queries: int = 5000,
        batch_size: int = 32,
        verbose: bool = True,
    ) -> None:
        common: dict[str, Any] = {
            "norm": norm,
            "eps": eps,
            "batch_size": batch_size,
            "verbose": verbose,
        }
        gradual = [
            AutoProjectedGradientDescent(
                estimator,
                eps_step=eps_step,
                max_iter=max_iter,
                nb_random_init=nb_restarts,
                loss_type=loss,
                **common,
            )
            for loss in ("cross_entropy", "difference_logits_ratio")
        ]
        others = [
            DeepFool(estimator, max_iter, 1e-3, batch_size=batch_size, verbose=verbose),
            evasion.SquareAttack(
                estimator, max_iter=max_queries, nb_restarts=nb_restarts, **common
            ),
        ]
        super().__init__(estimator, norm, eps, eps_step, gradual + others, batch_size)


class PixelAttack(evasion.PixelAttack):  # type: ignore[misc]
    """One-pixel attack of Su et al., "One pixel attack for fooling deep neural networks" (2019),
    on any number of pixels, as ART has it but for a loop over these.
    """

    def _perturb_image(self, x: Array, img: Array) -> Array:
        candidates = np.atleast_2d(x).astype(int)
        pixels = candidates.reshape(len(candidates), -1, 2 + self.img_channels)
        rows, columns = pixels[..., 0] % self.img_rows, pixels[..., 1] % self.img_cols
        images = np.repeat(img[None], len(candidates), axis=0)
        view = np.moveaxis(images, 1, -1) if self.estimator.channels_first else images
        view[np.arange(len(candidates))[:, None], rows, columns] = pixels[..., 2:]
        return images


class _FromNoise:
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


class BoundaryAttack(_FromNoise, evasion.BoundaryAttack):  # type: ignore[misc]
    """Boundary attack of Brendel et al., "Decision-based adversarial attacks" (2018), from additive
    noise, as Foolbox starts it.

    ART's starts from plain noise, further away, and not the same twice for one seed.
    """


class HopSkipJump(_FromNoise, evasion.HopSkipJump):  # type: ignore[misc]
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
