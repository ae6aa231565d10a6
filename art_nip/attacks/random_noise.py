"""Random noise of one size: what chance alone does within the budget of other attacks."""

from typing import Any, ClassVar

import numpy as np

from art_nip.attacks.balls import check_linf_or_l2, is_l2, unit_step, within_ball
from art_nip.attacks.base import Floats
from art_nip.attacks.decision import DecisionAttack, Fools
from art_nip.attacks.parameters import check_sizes
from art_nip.utils.validation import check_whole


class RandomNoise(DecisionAttack):
    """Corners of the L∞ ball, or points of the L2 sphere, drawn until one fools the classifier.

    In L∞, each value of an image moves by +ε or −ε, within the clip range. Where this fools images
    that attacks by gradient do not, those gradients mislead (Carlini et al., "On evaluating
    adversarial robustness", 2019).

    :param estimator: an ART classifier with `clip_values`.
    :param norm: np.inf or 2.
    :param eps: ε, for images in [0, 1].
    :param draws: how often noise is drawn.
    :param batch_size: how many images the classifier sees at once.
    :param seed: of the noise; None draws from NumPy's global state.
    :param verbose: whether a progress bar counts the predictions.
    :raises ValueError: if a parameter is not allowed.
    """

    attack_params: ClassVar[list[str]] = [*DecisionAttack.attack_params, "norm", "eps", "draws"]

    def __init__(
        self,
        estimator: Any,
        *,
        norm: float | str = np.inf,
        eps: float = 8 / 255,
        draws: int = 50,
        batch_size: int = 128,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(estimator, batch_size=batch_size, seed=seed, verbose=verbose)
        self.norm = norm
        self.eps = eps
        self.draws = draws
        self._check_params()

    def _perturbed(
        self, x: Floats, starts: Floats | None, fools: Fools, rng: np.random.Generator
    ) -> Floats:
        adversarial: Floats = x.copy()
        left = np.arange(len(x))
        for _ in range(self.draws):
            shape = (len(left), *x.shape[1:])
            noise: Floats
            if is_l2(self.norm):
                noise = unit_step(rng.standard_normal(shape, np.float32), self.norm)
            else:
                noise = 2 * rng.integers(2, size=shape, dtype=np.int8).astype(np.float32) - 1
            noisy = within_ball(
                x[left] + np.float32(self.eps) * noise, x[left], self.eps, self.norm
            )
            fooled = fools(noisy, left)
            adversarial[left[fooled]] = noisy[fooled]
            left = left[~fooled]
            if not len(left):
                break
        return adversarial

    def _check_params(self) -> None:
        super()._check_params()
        check_linf_or_l2(self.norm)
        check_sizes({"norm": self.norm, "eps": self.eps})
        check_whole("draws", self.draws, least=1)
