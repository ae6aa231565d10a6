"""AutoAttack in its authors' form (Croce and Hein, "Reliable evaluation of adversarial robustness
with an ensemble of diverse parameter-free attacks", 2020).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.attacks.base import Floats
from art_nip.attacks.foreign.base import ForeignAttack, Tensor, check_eps
from art_nip.utils.optional import require
from art_nip.utils.seeds import seeded
from art_nip.utils.validation import check_choice, check_whole

NORMS: dict[Any, str] = {
    "Linf": "Linf",
    "L2": "L2",
    "L1": "L1",
    np.inf: "Linf",
    "inf": "Linf",
    2: "L2",
    1: "L1",
}
"""Its names of norms, by these and by ART's."""

VERSIONS = {
    "standard": ("apgd-ce", "apgd-t", "fab-t", "square"),
    "plus": ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t"),
    "rand": ("apgd-ce", "apgd-dlr"),
    "custom": (),
    "auto": (),
}
"""The attacks of each version; "custom" leaves them to the user, "auto" chooses a version."""

LEAST_CLASSES = {"apgd-dlr": 3, "apgd-t": 4}
"""How many classes it takes for the difference of logits ratio."""

FLAGS = {
    "randomized": "the same image gets different answers",
    "probability": "the outputs are probabilities, not logits",
    "dynamic": "the defence takes gradients when it predicts",
    "zero gradient": "gradients are zero",
    "Square": "Square broke images that attacks by gradients had left",
}
"""What its warnings mean, by a word that is in them."""

ATTACKS = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")


class AutoAttack(ForeignAttack):
    """AutoAttack of the package `pyautoattack`, its authors' code, on PyTorch.

    `art_nip.attacks.get("autoattack-art")` is ART's choice of attacks under that name, for either
    framework. The package warns of what makes its own result doubtful, see :attr:`flags`.

    :param estimator: an ART `PyTorchClassifier` with `clip_values`, defended or not.
    :param eps: the largest perturbation, a share of the clip range.
    :param norm: "Linf", "L2" or "L1"; or as in ART: infinity, 2 or 1.
    :param version: "standard" (RobustBench's), "plus", "rand" (for random defences), "custom"; or
        "auto", which is "rand" where a batch gets other answers when it is asked again, else
        "standard", and leaves out the attacks that take more classes than there are.
    :param attacks: of a custom version: some of "apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t" and
        "square".
    :param max_iter: steps of APGD and FAB; its authors' 100.
    :param max_queries: queries of Square; its authors' 5,000.
    :param seed: of all that is drawn; None draws it from NumPy's global state, as ART's attacks do.
    :param batch_size: how many images are attacked at once.
    :param straight_through: whether it may go through defences that are written for NumPy.
    :raises TypeError: if the classifier is of another framework.
    :raises ValueError: if a parameter is not allowed, there are too few classes for the attacks, or
        no `clip_values`.
    """

    attack_params: ClassVar[list[str]] = [
        *ForeignAttack.attack_params,
        *("norm", "version", "attacks", "max_iter", "max_queries", "seed"),
    ]
    library = "AutoAttack"
    distribution = "pyautoattack"
    instead = "Take the named attack 'autoattack-art', ART's choice of attacks, which runs on both."

    def __init__(
        self,
        estimator: Any,
        eps: float,
        *,
        norm: Any = "Linf",
        version: str = "standard",
        attacks: Sequence[str] | None = None,
        max_iter: int = 100,
        max_queries: int = 5000,
        seed: int | None = None,
        batch_size: int = 128,
        straight_through: bool = False,
    ) -> None:
        super().__init__(estimator, batch_size=batch_size, straight_through=straight_through)
        self.eps: float = eps
        self.norm = norm
        self.version = version
        self.attacks = None if attacks is None else list(attacks)
        self.max_iter, self.max_queries = max_iter, max_queries
        self.seed = seed
        self._flags: list[str] = []
        self._check_params()

    @property
    def flags(self) -> tuple[str, ...]:
        """What the package warned of when it last made adversarial examples; sentences."""
        return tuple(dict.fromkeys(self._flags))

    def generate(self, x: npt.ArrayLike, y: npt.ArrayLike | None = None, **kwargs: Any) -> Floats:
        """Return adversarial examples, and set :attr:`flags`; see :class:`ForeignAttack`."""
        self._flags = []
        return super().generate(x, y, **kwargs)

    def _attacked(self, module: Any, images: Tensor, labels: Tensor) -> Tensor:
        pyautoattack = require("pyautoattack", to="run AutoAttack", install="pyautoattack")
        drawn = np.random.randint(2**31) if self.seed is None else self.seed  # noqa: NPY002
        # It seeds PyTorch for the whole process.
        with seeded(drawn), _tidied(pyautoattack.checks):
            version = self._version(pyautoattack.checks, module, images, labels)
            attack = pyautoattack.AutoAttack(
                module,
                attacks=self.attacks,
                device=images.device,
                eps=self.eps,
                norm=NORMS[self.norm],
                seed=drawn,
                version=version,
            )
            self._adapt(attack)
            adversarial, _ = attack.run_standard_evaluation(
                images, labels, batch_size=self.batch_size
            )
        return adversarial

    def _version(self, checks: Any, module: Any, images: Tensor, labels: Tensor) -> str:
        if self.version != "auto":
            return self.version
        found: list[str] = []
        checks.check_randomized(module, images, labels, logger=_kept(found))
        return "rand" if found else "standard"

    def _adapt(self, attack: Any) -> None:
        """Give the package's attacks their sizes, and what hears their warnings."""
        nb_classes = self.estimator.nb_classes
        if self.version == "auto":
            attack.attacks_to_run = [
                name for name in attack.attacks_to_run if nb_classes >= LEAST_CLASSES.get(name, 2)
            ]
        for targeted in (attack.apgd_targeted, attack.fab):
            targeted.n_target_classes = min(targeted.n_target_classes, nb_classes - 1)
        attack.fab.n_iter, attack.square.n_queries = self.max_iter, self.max_queries
        for apgd in (attack.apgd, attack.apgd_targeted):
            # As its constructor derives them from the number of steps.
            shares = {"n_iter_2": 0.22, "n_iter_min": 0.06, "size_decr": 0.03}
            derived = {name: max(int(share * self.max_iter), 1) for name, share in shares.items()}
            vars(apgd).update(n_iter=self.max_iter, n_iter_orig=self.max_iter, **derived)
        for part in (attack, attack.apgd, attack.apgd_targeted):
            vars(part).update(logger=_kept(self._flags))

    def _check_params(self) -> None:
        super()._check_params()
        check_eps(self.eps)
        if isinstance(self.norm, bool) or self.norm not in NORMS:
            check_choice("norm of AutoAttack", self.norm, ["Linf", "L2", "L1"])
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
        check_whole("max_iter", self.max_iter, least=1)
        check_whole("max_queries", self.max_queries, least=1)


def _kept(found: list[str]) -> logging.Logger:
    """Return a logger that adds to a list what it is warned of, and shows nothing."""

    def keep(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        meanings = (meaning for word, meaning in FLAGS.items() if word in text)
        found.append(next(meanings, text))
        return False

    logger = logging.Logger(__name__, logging.WARNING)
    logger.addFilter(keep)
    return logger


@contextmanager
def _tidied(checks: Any) -> Iterator[None]:
    """Undo what the package's check for dynamic defences does to the process.

    It counts calls for all models together, and ends whatever traces the process.
    """
    tracing = sys.gettrace()
    checks.funcs.update(dict.fromkeys(checks.funcs, 0))
    try:
        yield
    finally:
        sys.settrace(tracing)
