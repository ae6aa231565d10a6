"""What an evaluation by the adaptive suite must show before its worst case is believed.

The items are those of Carlini et al., "On evaluating adversarial robustness" (2019), of Tramèr et
al., "On adaptive attacks to adversarial example defenses" (2020), and of Croce et al., "Evaluating
the adversarial robustness of adaptive test-time defenses" (2022). A failed item says that the worst
case may be too good to be true, not that the defence is bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from art_nip.benchmark.analysis.results import GridResults
from art_nip.benchmark.analysis.worst_case import Outcome
from art_nip.benchmark.plan import suite
from art_nip.benchmark.plan.defences import DefenceEntry
from art_nip.benchmark.schema.checklist import ChecklistItem
from art_nip.benchmark.schema.words import Kind, Role, Status

Finding = tuple[Status, str]
"""A status and the evidence for it."""

TOLERATED_SHARE = 0.02
"""An attack may break this share of the images alone, by chance; one image in any case."""

TRUE_SLOPES = (0.8, 1.25)
"""Bounds of the measured slope of the loss over the slope that a true gradient promises."""

SATURATED_BELOW = float(np.finfo(np.float32).eps)
"""A loss that is less steep than that, as a share of the one towards the second class, has lost
terms to rounding, or all."""


def checklist(results: GridResults, suites: Sequence[Outcome]) -> list[ChecklistItem]:
    """Return the items for each suite, defence and protocol that has results.

    :param suites: what the adaptive suites did.
    :return: the items, each with its status and the evidence for it.
    """
    keys = {
        (inspected.defence, inspected.protocol): inspected.key
        for inspected in results.grid.inspected()
    }
    rows = []
    for outcome in suites:
        inspection = results.inspection(keys[outcome.defence, outcome.protocol])
        facts = {} if inspection is None or inspection.error else inspection.facts
        defence = results.grid.defences[outcome.defence]
        found = _findings(outcome, facts, results.grid.nb_classes, defence)
        for item, (status, evidence) in found.items():
            rows.append(
                ChecklistItem(
                    outcome.suite, outcome.defence, outcome.protocol, item, status, evidence
                )
            )
    return rows


def _findings(
    outcome: Outcome, facts: dict[str, Any], nb_classes: int, defence: DefenceEntry
) -> dict[str, Finding]:
    direct = [*suite.BY_GRADIENT, Role.AUTOATTACK, *suite.WITHOUT_GRADIENT]
    return {
        "several steps beat one": _adds_nothing(outcome, [Role.FGSM], [Role.PGD]),
        "more steps and restarts add nothing": _adds_nothing(
            outcome, [Role.PGD_LONGER], [Role.PGD]
        ),
        "without a bound, accuracy falls to chance": _unbounded(outcome, 1 / nb_classes),
        "attacks without gradients add nothing": _adds_nothing(
            outcome, suite.WITHOUT_GRADIENT, suite.BY_GRADIENT
        ),
        "random noise adds nothing": _adds_nothing(outcome, [Role.NOISE], suite.BY_GRADIENT),
        "transferred examples add nothing": _adds_nothing(
            outcome, suite.TRANSFERRED, direct, also=list(suite.OUTSIDE_THE_BUDGET)
        ),
        "AutoAttack raises no flag": _unflagged(outcome),
        "an attack was made for this defence": _made_for_it(outcome, defence),
        "gradients are not zero": _nonzero(facts),
        "the loss is not saturated": _unsaturated(facts),
        "gradients are those of the loss": _true_slopes(facts),
        "the same image gets the same answer": _deterministic(facts, outcome),
        "no gradients are taken to answer": _static(outcome),
        "the cost is known": _cost(outcome.benign),
    }


def _adds_nothing(
    outcome: Outcome, roles: Sequence[Role], others: Sequence[Role], also: Sequence[Role] = ()
) -> Finding:
    """Return whether some attacks break hardly any image that the others do not break.

    :param also: further attacks whose accuracy is part of the evidence.
    """
    these, those = outcome.broken_by(roles), outcome.broken_by(others)
    if these is None or those is None:
        missing = roles if these is None else others
        return Status.NOT_RUN, f"no result of {', '.join(missing)}"
    n = len(these)
    alone = int(np.count_nonzero(these & ~those))
    status = Status.PASSED if alone <= max(1, TOLERATED_SHARE * n) else Status.FAILED
    none_else = "nothing before" if outcome.cascade else "nothing else"
    left = _accuracies(outcome, (*roles, *also))
    return status, f"{alone} of {n} images broken by {none_else}; {left}"


def _accuracies(outcome: Outcome, roles: Sequence[Role]) -> str:
    """Return what attacks leave, as far as they have results."""
    left = [
        f"{role} {1 - outcome.wrong[role].mean():.2f}" for role in roles if role in outcome.wrong
    ]
    return f"{'left so far' if outcome.cascade else 'accuracy'}: {', '.join(left)}"


def _unbounded(outcome: Outcome, chance: float) -> Finding:
    if Role.PGD_UNBOUNDED not in outcome.wrong:
        return Status.NOT_RUN, f"no result of {Role.PGD_UNBOUNDED}"
    left = float((~outcome.wrong[Role.PGD_UNBOUNDED]).mean())
    return (
        Status.PASSED if left <= chance else Status.FAILED,
        f"accuracy {left:.2f}, chance {chance:.2f}",
    )


def _unflagged(outcome: Outcome) -> Finding:
    if Role.AUTOATTACK not in outcome.wrong:
        is_through = outcome.cascade and not outcome.robust_once.any()
        reason = "for which no image was left" if is_through else "which is for PyTorch"
        return Status.NOT_RUN, f"no result of {Role.AUTOATTACK}, {reason}"
    if outcome.flags:
        return Status.FAILED, "; ".join(outcome.flags)
    return Status.PASSED, f"none; {_accuracies(outcome, [Role.AUTOATTACK])}"


def _made_for_it(outcome: Outcome, defence: DefenceEntry) -> Finding:
    if any(role in outcome.wrong for role in suite.MADE_FOR_A_DEFENCE):
        return Status.PASSED, _accuracies(outcome, suite.MADE_FOR_A_DEFENCE)
    if defence.offers_surrogates:
        return Status.NOT_RUN, f"no result of {Role.STEERING}"
    if defence.kind is Kind.NONE:
        return Status.PASSED, "there is no defence"
    if defence.kind is Kind.TRAINED:
        return Status.NOT_RUN, "a classifier; if more than its weights defends it, it takes one"
    return Status.FAILED, "none: it offers no surrogate losses"


def _nonzero(facts: dict[str, Any]) -> Finding:
    if "nonzero" not in facts:
        return Status.NOT_RUN, "the classifier gives no gradients"
    share = facts["nonzero"]
    return Status.PASSED if share == 1 else Status.FAILED, f"not zero for {share:.0%} of the images"


def _unsaturated(facts: dict[str, Any]) -> Finding:
    if not facts.get("steepness"):
        return Status.NOT_RUN, "there are no gradients"
    middle = median(facts["steepness"])
    return (
        Status.PASSED if middle >= SATURATED_BELOW else Status.FAILED,
        f"away from the class predicted, the loss is {middle:.2g} times as steep as towards the "
        "second (median)",
    )


def _true_slopes(facts: dict[str, Any]) -> Finding:
    if not facts.get("slopes"):
        return Status.NOT_RUN, "random, or without gradients"
    slopes, (low, high) = facts["slopes"], TRUE_SLOPES
    near = sum(low <= slope <= high for slope in slopes)
    return (
        Status.PASSED if near > len(slopes) / 2 else Status.FAILED,
        f"the loss rises {median(slopes):.2f} times as fast as the gradient says (median); "
        f"{low:g} to {high:g} times for {near} of {len(slopes)} images",
    )


def _static(outcome: Outcome) -> Finding:
    if "backward_per_image" not in outcome.benign:
        return Status.NOT_RUN, "passes cannot be counted here"
    backward = outcome.benign["backward_per_image"]
    if not backward:
        return Status.PASSED, "none"
    evidence = f"{backward:.3g} backward passes for an image, which gradients do not go through"
    if any(role in outcome.wrong for role in suite.MADE_FOR_A_DEFENCE):
        return Status.PASSED, f"{evidence}, and an attack was made for it"
    return Status.FAILED, evidence


def _deterministic(facts: dict[str, Any], outcome: Outcome) -> Finding:
    repeated = outcome.repeated
    if "deterministic" not in facts and repeated is None:
        return Status.NOT_RUN, "the classifier could not be inspected"
    if facts.get("deterministic", True) and repeated is None:
        return Status.PASSED, "two predictions are equal"
    evidence = "random: gradients were averaged over draws, other attacks met single ones"
    if repeated is not None:
        evidence += f"; accuracy of one draw {outcome.robust_once.mean():.2f}, of the majority of "
        evidence += f"{repeated.draws} {repeated.majority.mean():.2f}, of the worst of them "
        evidence += f"{repeated.always.mean():.2f}"
    return Status.FAILED, evidence


def _cost(facts: dict[str, Any]) -> Finding:
    if "forward_per_image" not in facts:
        return Status.NOT_RUN, "passes cannot be counted here"
    forward, backward = facts["forward_per_image"], facts["backward_per_image"]
    return (
        Status.PASSED,
        f"{forward:.3g} forward and {backward:.3g} backward passes for a benign image",
    )
