"""Attacks of Foolbox (Rauber et al., "Foolbox: A Python toolbox to benchmark the robustness of
machine learning models", 2017).
"""

from __future__ import annotations

from typing import Any, ClassVar

from art_nip.attacks.foreign.base import ForeignAttack, Tensor, check_eps
from art_nip.utils.frameworks import Framework
from art_nip.utils.optional import require


class Foolbox(ForeignAttack):
    """An attack of Foolbox 3, on PyTorch or TensorFlow.

    :param estimator: an ART classifier with `clip_values`, defended or not.
    :param attack: an attack of Foolbox: `foolbox.attacks.LinfPGD(steps=20)`.
    :param eps: the largest perturbation, a share of the clip range, in the attack's own distance.
        None leaves the size to the attack, which only those that minimise it can do.
    :param batch_size: how many images are attacked at once.
    :param straight_through: whether it may go through defences that are written for NumPy.
    :raises TypeError: if the attack is none of Foolbox.
    :raises ValueError: if a parameter is not allowed, or there are no `clip_values`.
    """

    attack_params: ClassVar[list[str]] = [*ForeignAttack.attack_params, "attack"]
    library = "Foolbox"
    distribution = "foolbox"
    frameworks = (Framework.PYTORCH, Framework.TENSORFLOW)

    def __init__(
        self,
        estimator: Any,
        attack: Any,
        eps: float | None = None,
        *,
        batch_size: int = 128,
        straight_through: bool = False,
    ) -> None:
        super().__init__(estimator, batch_size=batch_size, straight_through=straight_through)
        self.attack = attack
        self.eps = eps
        self._check_params()

    def _attacked(self, module: Any, images: Tensor, labels: Tensor) -> Tensor:
        model = self._code.foolbox_model(_foolbox(), module)
        _, clipped, _ = self.attack(model, images, labels, epsilons=self.eps)
        return clipped

    def _check_params(self) -> None:
        super()._check_params()
        attacks = _foolbox().attacks
        if not isinstance(self.attack, attacks.base.Attack):
            raise TypeError(
                f"attack={self.attack!r} is no attack of Foolbox: give one, with its parameters, "
                "as foolbox.attacks.LinfPGD(steps=20)."
            )
        if self.eps is not None:
            check_eps(self.eps)
        elif isinstance(self.attack, attacks.base.FixedEpsilonAttack):
            raise ValueError(
                f"{type(self.attack).__name__} needs eps, the size of the perturbation in images "
                "of [0, 1]."
            )


def _foolbox() -> Any:
    return require("foolbox", to="run its attacks", install="foolbox")
