"""The adaptive suite and its checklist, on defences that are known to be broken."""

import pytest

from art_nip.benchmark import Attack, Benchmark
from art_nip.benchmark.analysis.checklist import checklist
from art_nip.benchmark.analysis.results import GridResults
from art_nip.benchmark.analysis.worst_case import outcomes
from art_nip.benchmark.plan import suite
from art_nip.benchmark.schema.words import Role, Status
from tests.benchmark.broken_defences import IN_BOTH, NAMES, alone, broken
from tests.helpers import make_classifier, to_framework

EPS = 0.3
CHOSEN = {*(Role.FGSM, Role.PGD, Role.APGD_DLR, Role.BPDA, Role.TRANSFER, Role.TRANSFER_STEERED)}
"""These suffice here, and are quick."""

WRONG_WITH = {
    "quantised input": {"gradients are not zero"},
    "random resizing": {"the same image gets the same answer"},
    # What rounds to zero depends on how a framework computes the loss of probabilities.
    "saturated softmax": {"gradients are not zero", "the loss is not saturated"},
    "stochastic activation pruning": {"the same image gets the same answer"},
    "defensive distillation": {"the loss is not saturated"},
    "k-winners-take-all": {"gradients are those of the loss"},
    "early exit": {"gradients are not zero"},
    "anti-adversary": {"no gradients are taken to answer"},
}
"""What the checklist must find out about each, one at least."""

HIDING = {
    *("quantised input", "saturated softmax", "defensive distillation"),
    *("early exit", "anti-adversary"),
}
"""Those that FGSM and PGD do not see through."""


@pytest.fixture(scope="module")
def found(framework, lenet, digits, tmp_path_factory):
    """The outcome for each defence, then of FGSM and PGD alone, and what the checklist fails."""
    n = 20 if framework == "pytorch" else 8
    x, y = digits["test"]
    model, names = lenet[framework], NAMES if framework == "pytorch" else IN_BOTH
    members = suite.members
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            suite, "members", lambda **given: (m for m in members(**given) if m.role in CHOSEN)
        )
        benchmark = Benchmark(
            make_classifier(framework, model),
            [Attack("adaptive", parameters={"eps": EPS, "max_iter": 10}, limit=n)],
            {name: broken(name, framework, model, *digits["train"]) for name in names},
            threats=["adaptive"],
            store=tmp_path_factory.mktemp("broken"),
            verbose=False,
        )
        with benchmark._grid(to_framework(x[:n], framework), y[:n], None) as grid:
            benchmark._computed(grid)
            results = GridResults(grid, benchmark._store)
            everything = {outcome.defence: outcome for outcome in outcomes(results)}
            simple = {name: alone(outcome) for name, outcome in everything.items()}
            failed = {
                (item.defence, item.item)
                for item in checklist(results, list(simple.values()))
                if item.status is Status.FAILED
            }
    return everything, simple, failed


def _names(framework):
    return NAMES if framework == "pytorch" else IN_BOTH


def test_the_suite_leaves_no_more_than_without_the_defence(found, framework):
    everything, *_ = found
    bare = everything["none"].robust.mean()
    assert {*everything} == {"none", *_names(framework)}
    for name in _names(framework):
        assert everything[name].robust.mean() <= bare + 0.05, name


def test_attacks_of_textbooks_leave_more(found, framework):
    _, simple, _ = found
    bare = simple["none"].robust.mean()
    for name in HIDING & set(_names(framework)):
        assert simple[name].robust.mean() > bare + 0.05, name


def test_the_checklist_says_what_is_wrong(found, framework):
    *_, failed = found
    for name in _names(framework):
        assert {item for defence, item in failed if defence == name} & WRONG_WITH[name], name
    named = set().union(*WRONG_WITH.values())
    assert not {item for defence, item in failed if defence == "none"} & named
