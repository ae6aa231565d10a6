"""AutoAttack in its authors' form (Croce and Hein, "Reliable evaluation of adversarial robustness
with an ensemble of diverse parameter-free attacks", 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from art_nip.attacks.foreign.base import ForeignAttack, Tensor, check_eps
from art_nip.utils.optional import require
from art_nip.utils.seeds import seeded
from art_nip.utils.validation import check_choice, check_whole

NORMS = ("Linf", "L2", "L1")
VERSIONS = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
    "custom": (),
}
"""The attacks of each version; those of the last are for the user to name."""

LEAST_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}
"""How many classes it takes for the difference of logits ratio."""

ATTACKS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")


class AutoAttack(ForeignAttack):
    """AutoAttack of the package `pyautoattack`, its authors' code, on PyTorch.

    `art_nip.attacks.get("autoattack")` is ART's choice of attacks under that name instead.

    :param classifier: an ART `PyTorchClassifier` with `clip_values`, defended or not.
    :param eps: the largest perturbation, a share of the clip range.
    :param norm: "Linf", "L2" or "L1".
    :param version: "standard" (RobustBench's), "plus", "rand" (for random defences), or "custom".
    :param attacks: of a custom version: some of "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t" and
        "square".
    :param seed: of all that is drawn; None draws it from NumPy's global state, as ART's attacks do.
    :param batch_size: how many images are attacked at once.
    :param straight_through: whether it may go through defences that are written for NumPy.
    :raises TypeError: if the classifier is of another framework.
    :raises ValueError: if a parameter is not allowed, there are too few classes for the attacks, or
        no `clip_values`.
    """

    attack_params: ClassVar[list[str]] = [
        *ForeignAttack.attack_params,
        *("norm", "version", "attacks", "seed"),
    ]
    library = "AutoAttack"
    distribution = "pyautoattack"

    def __init__(
        self,
        classifier: Any,
        eps: float,
        *,
        norm: str = "Linf",
        version: str = "standard",
        attacks: Sequence[str] | None = None,
        seed: int | None = None,
        batch_size: int = 128,
        straight_through: bool = False,
    ) -> None:
        super().__init__(classifier, batch_size=batch_size, straight_through=straight_through)
        self.eps: float = eps
        self.norm = norm
        self.version = version
        self.attacks = None if attacks is None else list(attacks)
        self.seed = seed
        self._check_params()

    def _attacked(self, module: Any, images: Tensor, labels: Tensor) -> Tensor:
        pyautoattack = require("pyautoattack", to="run AutoAttack", install="pyautoattack")
        drawn = np.random.randint(2**31) if self.seed is None else self.seed  # noqa: NPY002
        # It seeds PyTorch for the whole process.
        with seeded(drawn):
            attack = pyautoattack.AutoAttack(
                module,
                attacks=self.attacks,
                device=images.device,
                eps=self.eps,
                norm=self.norm,
                seed=drawn,
                version=self.version,
            )
            others = self.estimator.nb_classes - 1
            for targeted in (attack.apgd_targeted, attack.fab):
                targeted.n_target_classes = min(targeted.n_target_classes, others)
            adversarial, _ = attack.run_standard_evaluation(
                images, labels, batch_size=self.batch_size
            )
        return adversarial

    def _check_params(self) -> None:
        super()._check_params()
        check_eps(self.eps)
        check_choice("norm of AutoAttack", self.norm, NORMS)
        check_choice("version of AutoAttack", self.version, list(VERSIONS))
        for name in self.attacks or ():
            check_choice("attack of AutoAttack", name, ATTACKS)
        names = self.attacks or VERSIONS[self.version]
        for name, least in LEAST_CLASSES.items():
            if name in names and self.estimator.nb_classes < least:
                raise ValueError(
                    f"{name} needs {least} classes, and the classifier has "
                    f'{self.estimator.nb_classes}: name other attacks, with version="custom".'
                )
        if (self.version == "custom") != bool(self.attacks):
            raise ValueError(
                f"attacks={self.attacks!r} with version={self.version!r}: name the attacks of "
                'version="custom", and of no other.'
            )
        if self.seed is not None:
            check_whole("seed", self.seed, least=0)
