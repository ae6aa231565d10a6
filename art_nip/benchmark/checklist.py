"""What an evaluation by the adaptive suite must show before its worst case is believed.

The items are those of Carlini et al., "On evaluating adversarial robustness" (2019), and of Croce
et al., "Evaluating the adversarial robustness of adaptive test-time defenses" (2022). A failed item
says that the worst case may be too good to be true, not that the defence is bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Any

import numpy as np

from art_nip.benchmark import suite
from art_nip.benchmark.grid import Grid
from art_nip.benchmark.store import Store
from art_nip.benchmark.worst_case import Outcome

PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"
Finding = tuple[str, str]
"""A status and the evidence for it."""

TOLERATED = 0.02
"""What share of the images an attack may break alone, by chance; one image in any case."""

SLOPES = (0.8, 1.25)
"""Between what the slope of the loss is, over that which its gradient promises, if that is true."""


def checklist(grid: Grid, store: Store, suites: Sequence[Outcome]) -> list[dict[str, str]]:
    """Return the items, for each suite, defence and protocol of which there are results.

    :param suites: what the adaptive suites did.
    :return: each with `suite`, `defence`, `protocol`, `item`, `status` ("passed", "failed" or
        "not run") and `evidence`, what the status rests on.
    """
    keys = {(each.defence, each.protocol): each.key for each in grid.inspected()}
    rows = []
    for outcome in suites:
        inspection = store.get("inspections", keys[outcome.defence, outcome.protocol])
        facts = {} if inspection is None or inspection.error else inspection.facts
        for item, (status, evidence) in _findings(outcome, facts, grid.nb_classes).items():
            rows.append(
                {
                    "suite": outcome.suite,
                    "defence": outcome.defence,
                    "protocol": outcome.protocol,
                    "item": item,
                    "status": status,
                    "evidence": evidence,
                }
            )
    return rows


def _findings(outcome: Outcome, facts: dict[str, Any], nb_classes: int) -> dict[str, Finding]:
    grown = [f"{suite.TRANSFERRED} {factor}ε" for factor in suite.GROWING]
    direct = [*suite.BY_GRADIENT, *suite.WITHOUT_GRADIENT]
    return {
        "several steps beat one": _adds_nothing(outcome, ["fgsm"], ["pgd"]),
        "more steps and restarts add nothing": _adds_nothing(outcome, ["pgd, more"], ["pgd"]),
        "without a bound, accuracy falls to chance": _unbounded(outcome, 1 / nb_classes),
        "attacks without gradients add nothing": _adds_nothing(
            outcome, suite.WITHOUT_GRADIENT, suite.BY_GRADIENT
        ),
        "random noise adds nothing": _adds_nothing(outcome, ["noise"], suite.BY_GRADIENT),
        "transferred examples add nothing": _adds_nothing(
            outcome, [suite.TRANSFERRED], direct, also=grown
        ),
        "gradients are not zero": _nonzero(facts),
        "gradients are those of the loss": _true_slopes(facts),
        "the same image gets the same answer": _deterministic(facts),
        "the cost is known": _cost(outcome.benign),
    }


def _adds_nothing(
    outcome: Outcome, roles: Sequence[str], others: Sequence[str], also: Sequence[str] = ()
) -> Finding:
    """Return whether some attacks break hardly an image that none of the others breaks.

    :param also: attacks whose accuracy is evidence too.
    """
    these, those = outcome.broken_by(roles), outcome.broken_by(others)
    if these is None or those is None:
        missing = roles if these is None else others
        return NOT_RUN, f"no result of {', '.join(missing)}"
    n = len(these)
    alone = int(np.count_nonzero(these & ~those))
    status = PASSED if alone <= max(1, TOLERATED * n) else FAILED
    accuracies = [
        f"{role} {1 - outcome.wrong[role].mean():.2f}"
        for role in (*roles, *also)
        if role in outcome.wrong
    ]
    return (
        status,
        f"{alone} of {n} images broken by nothing else; accuracy: {', '.join(accuracies)}",
    )


def _unbounded(outcome: Outcome, chance: float) -> Finding:
    if suite.UNBOUNDED not in outcome.wrong:
        return NOT_RUN, f"no result of {suite.UNBOUNDED}"
    left = float(1 - outcome.wrong[suite.UNBOUNDED].mean())
    return PASSED if left <= chance else FAILED, f"accuracy {left:.2f}, chance {chance:.2f}"


def _nonzero(facts: dict[str, Any]) -> Finding:
    if "nonzero" not in facts:
        return NOT_RUN, "the classifier gives no gradients"
    share = facts["nonzero"]
    return PASSED if share == 1 else FAILED, f"not zero for {share:.0%} of the images"


def _true_slopes(facts: dict[str, Any]) -> Finding:
    if not facts.get("slopes"):
        return NOT_RUN, "random, or without gradients"
    middle = median(facts["slopes"])
    status = PASSED if SLOPES[0] <= middle <= SLOPES[1] else FAILED
    return status, f"the loss rises {middle:.2f} times as fast as the gradient says (median)"


def _deterministic(facts: dict[str, Any]) -> Finding:
    if "deterministic" not in facts:
        return NOT_RUN, "the classifier could not be inspected"
    if facts["deterministic"]:
        return PASSED, "two predictions are equal"
    return FAILED, "random: gradients were averaged over draws, other attacks met single ones"


def _cost(facts: dict[str, Any]) -> Finding:
    if "forward_per_image" not in facts:
        return NOT_RUN, "passes cannot be counted here"
    forward, backward = facts["forward_per_image"], facts["backward_per_image"]
    return PASSED, f"{forward:.3g} forward and {backward:.3g} backward passes for a benign image"
