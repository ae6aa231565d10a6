"""An attack made for NIP: it leads the model and the retrieval to a wrong class together."""

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from art.attacks.attack import EvasionAttack
from art.estimators.classification.classifier import ClassGradientsMixin
from art.estimators.estimator import BaseEstimator, LossGradientsMixin
from tqdm.auto import tqdm

from art_nip.nip.preprocessor import NIPPreprocessor
from art_nip.utils.seeds import generator
from art_nip.utils.validation import check_images, check_number, check_whole, class_indices, numeric

Floats = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

LOOK = 5
"""After how many steps it is seen what is fooled already."""


class SteeringAttack(EvasionAttack):  # type: ignore[misc]
    """Steps by the sign of the ways in which model and retrieval can be led to another class.

    What these ways are says :meth:`art_nip.NIPPreprocessor.surrogate_losses`: with "class"
    retrieval, those of the model and of the evidence, which leaves an image alone that both have
    wrong; with others, those of the model behind candidates drawn at random, so that it matters
    little which is found.
    Ways are divided by their mean size and added. Images are led to each of the classes next in
    score, one after the other, from several starts, within an L∞ ball; the first that fools the
    defended classifier is kept. As Tramèr et al., "On adaptive attacks to adversarial example
    defenses" (2020), ask of an attack that it targets all parts of a defence at once.

    :param estimator: an ART classifier that NIP is attached to. Its other defences count as the
        identity on the way back.
    :param eps: of the L∞ ball, in the images' unit.
    :param eps_step: size of a step.
    :param max_iter: steps towards each class, from each start.
    :param targets: how many classes.
    :param restarts: how many starts: the image itself, then random ones.
    :param draws: over how many draws of ways the mean is taken at each step, with other retrievals
        than "class".
    :param batch_size: how many images are attacked at once.
    :param seed: of the random starts; None draws from NumPy's global state.
    :param verbose: whether to show a progress bar.
    :raises ValueError: if no NIP is attached, or a parameter is not allowed.
    """

    attack_params: ClassVar[list[str]] = [
        *EvasionAttack.attack_params,
        *("eps", "eps_step", "max_iter", "targets", "restarts", "draws", "batch_size", "seed"),
        "verbose",
    ]
    _estimator_requirements = (BaseEstimator, LossGradientsMixin, ClassGradientsMixin)

    def __init__(
        self,
        estimator: Any,
        *,
        eps: float = 8 / 255,
        eps_step: float = 1 / 255,
        max_iter: int = 40,
        targets: int = 3,
        restarts: int = 1,
        draws: int = 4,
        batch_size: int = 128,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(estimator=estimator)
        attached = [
            each
            for each in estimator.preprocessing_defences or []
            if isinstance(each, NIPPreprocessor)
        ]
        if len(attached) != 1:
            raise ValueError(
                f"SteeringAttack is made for a classifier with one NIP, and this one has "
                f"{len(attached)}: give it nip.attach(classifier)."
            )
        self._nip = attached[0]
        self.eps = eps
        self.eps_step = eps_step
        self.max_iter = max_iter
        self.targets = targets
        self.restarts = restarts
        self.draws = draws
        self.batch_size = batch_size
        self.seed = seed
        self.verbose = verbose
        self._check_params()

    def generate(
        self, x: npt.ArrayLike, y: npt.ArrayLike | None = None, **kwargs: Any
    ) -> npt.NDArray[np.float32]:
        """Return adversarial examples.

        :param x: images, shape (N, *input_shape), within the estimator's `clip_values`.
        :param y: their true classes: indices, shape (N,), or one-hot, shape (N, nb_classes). None:
            the classes that the defended classifier predicts.
        :return: float32, shape of x. An image that is wrong already, or resists, comes back as it
            was.
        :raises TypeError: if images are no numbers, or there is another keyword.
        :raises ValueError: if images or labels are not as above.
        """
        if kwargs:
            raise TypeError(f"generate takes x and y only; it was given {', '.join(kwargs)} too.")
        images = numeric(x)
        check_images(images, tuple(self.estimator.input_shape), self.estimator.clip_values)
        results: Floats = images.copy()
        rng = generator(self.seed)
        if not len(images):
            return results
        scores = self._scores(images)
        labels = scores.argmax(axis=1) if y is None else self._labels(y, len(images))
        attacked = np.flatnonzero(scores.argmax(axis=1) == labels)
        scores[np.arange(len(images)), labels] = -np.inf
        ranked = np.argsort(-scores, axis=1)[:, : min(self.targets, scores.shape[1] - 1)]
        starts = range(0, len(attacked), self.batch_size)
        for start in tqdm(starts, type(self).__name__, disable=not self.verbose):
            rows = attacked[start : start + self.batch_size]
            results[rows] = self._led(images[rows], labels[rows], ranked[rows], rng)
        return results

    def _led(self, x: Floats, labels: Labels, ranked: Labels, rng: np.random.Generator) -> Floats:
        """Return images that fool the classifier, and as they were those that resist."""
        results: Floats = x.copy()
        left = np.arange(len(x))
        for restart in range(self.restarts):
            for classes in ranked.T:
                start = x[left]
                if restart:
                    noise = rng.uniform(-self.eps, self.eps, start.shape).astype(np.float32)
                    start = self._within(start + noise, x[left])
                found, fooled = self._steered(start, x[left], labels[left], classes[left])
                results[left[fooled]] = found[fooled]
                left = left[~fooled]
                if not len(left):
                    return results
        return results

    def _steered(
        self, start: Floats, x: Floats, labels: Labels, classes: Labels
    ) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Return where the steps lead, and which images fool the classifier there."""
        moved, fooled = start.copy(), np.zeros(len(x), np.bool_)
        for step in range(1, self.max_iter + 1):
            going = np.flatnonzero(~fooled)
            way = np.sign(self._way(moved[going], classes[going]))
            moved[going] = self._within(moved[going] + self.eps_step * way, x[going])
            if step % LOOK == 0 or step == self.max_iter:
                fooled[going] = self._scores(moved[going]).argmax(axis=1) != labels[going]
                if fooled.all():
                    break
        return moved, fooled

    def _way(self, x: Floats, classes: Labels) -> Floats:
        total: Floats = np.zeros_like(x)
        for lure in self._nip.surrogate_losses(x, classes, self.draws):
            axes = tuple(range(1, lure.ndim))
            total += lure / (np.abs(lure).mean(axis=axes, keepdims=True) + 1e-12)
        return total

    def _within(self, moved: Floats, x: Floats) -> Floats:
        low, high = self.estimator.clip_values
        near = np.clip(moved, x - np.float32(self.eps), x + np.float32(self.eps))
        clipped: Floats = np.clip(near, low, high).astype(np.float32)
        return clipped

    def _scores(self, images: Floats) -> Floats:
        scores: Floats = np.array(self.estimator.predict(images, batch_size=self.batch_size))
        return scores

    def _labels(self, y: npt.ArrayLike, n: int) -> Labels:
        return class_indices(y, n, self.estimator.nb_classes)

    def _check_params(self) -> None:
        for name in ("eps", "eps_step"):
            check_number(name, getattr(self, name), 0)
        for name in ("max_iter", "targets", "restarts", "draws", "batch_size"):
            check_whole(name, getattr(self, name), least=1)
        if self.seed is not None:
            check_whole("seed", self.seed, least=0)
