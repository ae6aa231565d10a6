"""The adaptive suite: attacks that go through a defence, each in another way, within one budget.

The accuracy that is left when each image meets all of them is the worst case, by which a defence is
judged (Croce et al., "Evaluating the adversarial robustness of adaptive test-time defenses", 2022;
Tramèr et al., "On adaptive attacks to adversarial example defenses", 2020).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.attacks.apgd import LEAST_CLASSES_OF_DLR
from art_nip.benchmark.schema.words import Kind, Norm, Role
from art_nip.utils.frameworks import Framework, framework_of
from art_nip.utils.validation import check_choice, check_flag, check_whole, is_number

SUITE = "adaptive"

DEFAULTS: dict[str, Any] = {
    "norm": str(Norm.LINF),
    "eps": 8 / 255,
    "max_iter": 20,
    "queries": 500,
    "cascade": False,
}
"""The norm, "linf" or "l2"; ε in that norm, of images in [0, 1]; steps of gradient attacks; queries
of attacks without gradients; whether attacks meet only the images that those before have left."""

L2_EPS = 0.5
"""ε in L2 unless the user says otherwise, as of RobustBench for images of 32×32."""

SMALLEST_ALLOWED = {"max_iter": 2, "queries": 50}

ROUNDING_SHARE = 1e-5
"""By how much rounding in float32 may exceed the budget, of images in [0, 1]; of a budget above 1,
the share of it."""

LIMIT = 100
"""The number of images that the suite attacks unless the user asks for another."""

KINDS = tuple(Kind)
"""All kinds of defences."""


@dataclass(frozen=True)
class Member:
    """An attack of the suite.

    :param role: what it is for: its label behind that of the suite, and its name in the checklist.
    :param attack: a name of `art_nip.attacks.registry`.
    :param parameters: parameters of that attack.
    :param kinds: the kinds of defences that it is made for.
    :param by_surrogates: whether it is for those only that offer surrogate losses.
    :param frameworks: those of the classifiers that it attacks; None for all.
    :param least_classes: how many classes the classifiers have at least that it attacks.
    :param by_undefended: whether it follows the loss of the undefended classifier, and asks the
        defended one where it leads.
    :param through: whether it goes through the defence; else it is crafted on the undefended
        classifier, and transferred.
    :param parts: of a cascade, its attacks in turn; else ().
    """

    role: Role
    attack: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[Kind, ...] = KINDS
    by_surrogates: bool = False
    by_undefended: bool = False
    frameworks: tuple[Framework, ...] | None = None
    least_classes: int = 2
    through: bool = True
    parts: tuple[Member, ...] = ()

    def suits(self, classifier: Any) -> bool:
        """Return whether it attacks such a classifier, defended or not."""
        runs = self.frameworks is None or framework_of(classifier) in self.frameworks
        return runs and bool(classifier.nb_classes >= self.least_classes)


BY_GRADIENT = (
    *(Role.FGSM, Role.PGD, Role.PGD_LONGER, Role.APGD_CE, Role.APGD_DLR, Role.APGD_TARGETED),
    *(Role.BPDA, Role.AUXILIARY, Role.STEERING),
)
WITHOUT_GRADIENT = (Role.SQUARE, Role.HOPSKIPJUMP, Role.NOISE)
MADE_FOR_A_DEFENCE = (Role.STEERING, Role.AUXILIARY)
"""The attacks that know what a defence does."""

TRANSFERRED = (Role.TRANSFER, Role.TRANSFER_STEERED)

OUTSIDE_THE_BUDGET = {Role.TRANSFER_2: 2, Role.TRANSFER_4: 4}
"""The multiples of ε at which examples are transferred too, by role."""

IN_TURN = (
    *(Role.STEERING, Role.AUXILIARY, Role.PGD, Role.FGSM, Role.PGD_LONGER),
    *(Role.APGD_CE, Role.APGD_DLR, Role.APGD_TARGETED, Role.BPDA),
    *(Role.NOISE, Role.SQUARE, Role.HOPSKIPJUMP, Role.AUTOATTACK),
    *(Role.TRANSFER_STEERED, Role.TRANSFER),
)
"""The attacks of a cascade in turn: those made for a defence first, as they leave the others the
least to do; slow ones late; and behind others what should add nothing to these, as the checklist
asks."""


def members(
    norm: str, eps: float, max_iter: int, queries: int, cascade: bool = False
) -> Iterator[Member]:
    """Yield the attacks of the suite, each in the norm; parameters as in `DEFAULTS`."""
    every = _members(norm, eps, max_iter, queries)
    if not cascade:
        yield from every
        return
    by_role = {member.role: member for member in every}
    yield Member(Role.CASCADE, str(Role.CASCADE), parts=tuple(by_role[role] for role in IN_TURN))
    yield by_role[Role.PGD_UNBOUNDED]


def within(sizes: npt.NDArray[Any], eps: float) -> npt.NDArray[np.bool_]:
    """Return which perturbations are no larger than the budget ε, but for rounding."""
    found: npt.NDArray[np.bool_] = sizes <= eps + ROUNDING_SHARE * max(1, eps)
    return found


def _members(norm: str, eps: float, max_iter: int, queries: int) -> Iterator[Member]:
    steps = max_iter
    in_linf = norm == Norm.LINF
    # All are in L∞ unless told otherwise.
    size = {"eps": eps, **({} if in_linf else {"norm": 2})}
    pgd = {**size, "eps_step": 2.5 * eps / steps, "max_iter": steps}
    longer = {**pgd, "eps_step": 1.25 * eps / steps, "max_iter": 2 * steps}
    apgd = {**size, "eps_step": 2 * eps, "max_iter": 2 * steps}
    yield Member(Role.FGSM, "fgsm", size)
    yield Member(Role.PGD, "eot", pgd)
    yield Member(Role.PGD_LONGER, "eot", {**longer, "num_random_init": 2})
    yield Member(Role.APGD_CE, "apgd", apgd)
    yield Member(
        Role.APGD_DLR,
        "apgd",
        {**apgd, "loss_type": "difference_logits_ratio"},
        least_classes=LEAST_CLASSES_OF_DLR,
    )
    yield Member(Role.APGD_TARGETED, "apgd", {**apgd, "max_iter": steps, "targets": 3})
    yield Member(Role.BPDA, "bpda", pgd, kinds=(Kind.PREPROCESSOR, Kind.NIP))
    yield Member(Role.AUXILIARY, "eot", {**longer, "auxiliary": 2.0}, kinds=(Kind.SUPPRESSING,))
    yield Member(
        Role.AUTOATTACK,
        "autoattack",
        {**size, "max_iter": steps, "max_queries": queries},
        frameworks=(Framework.PYTORCH,),
    )
    # From long steps to short ones.
    steering = {**size, "eps_step": eps / 2, "max_iter": 2 * steps}
    yield Member(Role.STEERING, "steering", steering, by_surrogates=True)
    yield Member(Role.SQUARE, "square", {**size, "max_iter": queries})
    evaluations = {"init_eval": queries // 10, "max_eval": queries // 5}
    hops = {"norm": float("inf") if in_linf else 2, "max_iter": 5, **evaluations}
    yield Member(Role.HOPSKIPJUMP, "hopskipjump", hops)
    yield Member(Role.NOISE, "noise", size)
    # The gradients of the undefended classifier, which nothing hides, and the answers of the other.
    yield Member(Role.TRANSFER_STEERED, "steering", steering, kinds=KINDS[1:], by_undefended=True)
    # Runs are long: the surer the undefended classifier is of its error, the better it transfers.
    transferred: dict[str, Any] = {"kinds": KINDS[1:], "through": False}
    yield Member(Role.TRANSFER, "eot", longer, **transferred)
    for role, factor in OUTSIDE_THE_BUDGET.items():
        # No more than the whole range, where that is all there is.
        times = min(factor, 1 / eps) if in_linf else factor
        grown = {**longer, "eps": times * eps, "eps_step": times * longer["eps_step"]}
        yield Member(role, "eot", grown, **transferred)
    # In L∞ always: there, no bound is simply the whole range.
    yield Member(
        Role.PGD_UNBOUNDED, "eot", {"eps": 1.0, "eps_step": 2.5 / steps, "max_iter": steps}
    )


def settled(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of the suite: those given, and `DEFAULTS` for the others.

    :raises ValueError: if a parameter is unknown, or its value is not allowed.
    """
    check_parameters(parameters)
    found = {**DEFAULTS, **parameters}
    if found["norm"] == Norm.L2 and "eps" not in parameters:
        found["eps"] = L2_EPS
    return found


def check_parameters(parameters: Mapping[str, Any]) -> None:
    """Raise a ValueError if a parameter of the suite is unknown, or its value is not allowed."""
    for name, value in parameters.items():
        check_choice(f"parameter of the attacks {SUITE!r}", name, list(DEFAULTS))
        if name == "norm":
            check_choice(f"norm of the attacks {SUITE!r}", value, tuple(Norm))
        elif name == "cascade":
            check_flag(name, value)
        elif name != "eps":
            check_whole(name, value, least=SMALLEST_ALLOWED[name])
        elif parameters.get("norm") == Norm.L2:
            if not is_number(value) or not 0 < value < np.inf:
                raise ValueError(
                    f"eps={value!r}; give a number above 0, the L2 norm of what may be added to an "
                    "image in [0, 1], such as 0.5."
                )
        elif not isinstance(value, Real) or not 0 < float(value) <= 1:
            meant = (
                f" Did you mean {float(value):g}/255?"
                if isinstance(value, Real) and 1 < float(value) <= 255
                else ""
            )
            raise ValueError(
                f"eps={value!r}; give a share of the clip range, above 0, at most 1.{meant}"
            )
