"""Additive uniform noise: ever stronger noise until the classifier is fooled (AUNA).

Several draws of noise compete; the smallest perturbation is kept.
"""

import math
from typing import Any, ClassVar

import numpy as np

from art_nip.attacks.base import Floats, Mask, Rows, beside
from art_nip.attacks.decision import DecisionAttack, Fools, bisected
from art_nip.utils.validation import check_whole


class AdditiveUniformNoise(DecisionAttack):
    """Additive uniform noise attack of Foolbox (Rauber et al., "Foolbox: A Python toolbox to
    benchmark the robustness of machine learning models", 2017).

    Noise is drawn uniformly between -1 and 1 and scaled to a norm of 1; the adversarial example is
    clip(x + ε · range · noise). ε ascends on a grid, with noise drawn anew at each step, until the
    classifier is fooled; from there ε descends along the noise that did it. Each repeat draws other
    noise: if this fools the classifier at the ε reached, ε descends along it too. An image that no
    ε has fooled climbs the grid again.

    :param estimator: an ART classifier with `clip_values`.
    :param norm: what is 1 for the noise and small for the perturbation: 2, the L2 norm (the noise's
        root mean square is 1), or `np.inf`, the largest value.
    :param steps: how many ε the grid has, from 1/steps to 1.
    :param repeats: how often this is done; the smallest perturbation is kept.
    :param search_steps: how often the distance between an ε that fools the classifier and one that
        does not is halved; 0 leaves ε on the grid.
    :param batch_size: how many images the classifier sees at once.
    :param seed: of the noise; None draws from NumPy's global state.
    :param verbose: whether a progress bar counts the predictions.
    :raises ValueError: if a parameter is not allowed.
    """

    attack_params: ClassVar[list[str]] = [
        *DecisionAttack.attack_params,
        "norm",
        "steps",
        "repeats",
        "search_steps",
    ]

    def __init__(
        self,
        estimator: Any,
        *,
        norm: float = 2,
        steps: int = 100,
        repeats: int = 10,
        search_steps: int = 10,
        batch_size: int = 128,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(estimator, batch_size=batch_size, seed=seed, verbose=verbose)
        self.norm = norm
        self.steps = steps
        self.repeats = repeats
        self.search_steps = search_steps
        self._check_params()

    def _perturbed(
        self, x: Floats, starts: Floats | None, fools: Fools, rng: np.random.Generator
    ) -> Floats:
        best: Floats = x.copy()
        smallest = np.full(len(x), np.inf, np.float32)
        epsilon, noise = np.ones(len(x), np.float32), np.empty_like(x)

        def noisy(rows: Rows, epsilon: Floats) -> Floats:
            images: Floats = np.clip(x[rows] + beside(epsilon, x) * noise[rows], 0, 1)
            return images

        def drawn(rows: Rows, epsilon: Floats) -> Mask:
            noise[rows] = self._noise((len(rows), *x.shape[1:]), rng)
            return fools(noisy(rows, epsilon), rows)

        for _ in range(self.repeats):
            good, bad = epsilon.copy(), np.zeros_like(epsilon)
            fooled = smallest < np.inf
            again, remaining = np.flatnonzero(fooled), np.flatnonzero(~fooled)
            fooled[again] = drawn(again, good[again])
            for step in range(1, self.steps + 1):
                if not len(remaining):
                    break
                good[remaining] = step / self.steps
                bad[remaining] = (step - 1) / self.steps
                fooled[remaining] = drawn(remaining, good[remaining])
                remaining = remaining[~fooled[remaining]]

            rows = np.flatnonzero(fooled)

            def works(epsilon: Floats, rows: Rows = rows) -> Mask:
                return fools(noisy(rows, epsilon), rows)

            reached = bisected(works, good[rows], bad[rows], self.search_steps)
            adversarial = noisy(rows, reached)
            sizes = self._sizes(adversarial - x[rows])
            smaller = sizes < smallest[rows]
            kept = rows[smaller]
            best[kept], smallest[kept] = adversarial[smaller], sizes[smaller]
            epsilon[kept] = reached[smaller]
        return best

    def _noise(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        noise = 2 * rng.random(shape, np.float32) - 1
        unit = np.sqrt(math.prod(shape[1:])) if self.norm == 2 else 1
        scaled: Floats = noise * beside((unit / self._sizes(noise)).astype(np.float32), noise)
        return scaled

    def _sizes(self, perturbations: Floats) -> Floats:
        flat = perturbations.reshape(len(perturbations), math.prod(perturbations.shape[1:]))
        sizes: Floats = np.linalg.norm(flat, self.norm, axis=1)
        return sizes

    def _check_params(self) -> None:
        super()._check_params()
        if self.norm not in (2, np.inf):
            raise ValueError(f"norm={self.norm!r}; allowed are 2 and np.inf.")
        for name, least in (("steps", 1), ("repeats", 1), ("search_steps", 0)):
            check_whole(name, getattr(self, name), least)
