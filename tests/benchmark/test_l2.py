"""The adaptive suite in L2, its worst case, and curves of accuracy against ε."""

import math

import numpy as np
import pytest

from art_nip.benchmark import Attack, Benchmark
from art_nip.benchmark.analysis.curves import SIZES
from art_nip.benchmark.analysis.results import GridResults
from art_nip.benchmark.plan import suite
from art_nip.benchmark.plan.attacks import attack_entries
from art_nip.benchmark.plan.suite import L2_EPS, members, settled
from art_nip.benchmark.schema.words import Norm, Role
from art_nip.benchmark.spec.sections import AttackItem
from tests.helpers import make_classifier, to_framework

N, EPS = 6, 1.5
SLOW = {
    "pytorch": {Role.PGD_LONGER},
    "tensorflow": {
        *(Role.PGD_LONGER, Role.HOPSKIPJUMP, Role.APGD_CE, Role.APGD_DLR),
        *(Role.TRANSFER_2, Role.TRANSFER_4),
    },
}
"""Members that are left out here."""

OUTSIDE = {Role.HOPSKIPJUMP, Role.PGD_UNBOUNDED, *suite.OUTSIDE_THE_BUDGET}


@pytest.fixture(scope="module")
def ran(framework, lenet, digits, tmp_path_factory):
    x, y = digits["test"]
    # The sizes are of images in [0, 1], whatever range a classifier's have.
    x = 255 * to_framework(x[:N], framework)
    model = lenet[framework]
    classifier = make_classifier(framework, model, clip_values=(0, 255), preprocessing=(0.0, 255.0))
    every = suite.members
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            suite,
            "members",
            lambda **given: (m for m in every(**given) if m.role not in SLOW[framework]),
        )
        benchmark = Benchmark(
            classifier,
            [
                Attack("adaptive", "l2", {"norm": "l2", "eps": EPS, "max_iter": 4, "queries": 50}),
                Attack("deepfool", limit=4),
                Attack("pgd", "nearest pgd", {"minimal": True, "max_iter": 3}, limit=5),
            ],
            {"anti-adversary": "anti-adversary"},
            threats=["adaptive"],
            store=tmp_path_factory.mktemp("l2"),
            verbose=False,
        )
        table = benchmark.run(x, y[:N])
        with benchmark._grid(x, y[:N], None) as grid:
            results = GridResults(grid, benchmark._store)
        yield benchmark, table, results


def test_each_member_keeps_to_its_ball(ran):
    _, table, run = ran
    assert not (table.metric == "error").any()
    moved = 0
    for cell in run.grid.cells:
        if cell.adversarial is None or not run.grid.attacks[cell.attack].suite:
            continue
        entry, sizes = run.grid.attacks[cell.attack], run.crafted(cell)
        if entry.role not in OUTSIDE:
            assert sizes.l2.max() <= EPS * (1 + 1e-5), cell
            moved += sizes.l2.max() > 0.5 * EPS
            assert entry.parameters["norm"] == 2
            assert entry.norm == "l2"
        assert entry.budget_norm is Norm.L2
    assert moved >= 8


def test_the_worst_case_is_that_of_the_budget_in_l2(ran):
    _, table, run = ran
    worst = table[table.metric == "worst_case_accuracy"].set_index("defence")
    assert set(worst.norm) == {"l2"}
    assert set(worst.eps) == {EPS}
    for defence, row in worst.iterrows():
        robust = np.ones(N, bool)
        for cell in run.grid.cells:
            if cell.defence != defence or cell.attack in ("deepfool", "nearest pgd"):
                continue
            wrong = run.predictions(cell).arrays["classes"] != run.grid.y
            if cell.adversarial:
                wrong &= run.crafted(cell).l2 <= EPS * (1 + 1e-5)
            robust &= ~wrong
        assert row.value == robust.mean()


def test_the_report_says_the_norm(ran):
    benchmark, *_ = ran
    page = benchmark.report().with_suffix(".md").read_text()
    assert "L2 at most 1.5, of images in" in page
    assert "Accuracy against ε in L2" in page
    assert "Accuracy against ε in L∞" in page
    assert "accuracy_at" not in page
    assert "Unfinished" not in page


def test_accuracy_falls_with_eps(ran):
    _, table, run = ran
    points = table[table.metric == "accuracy_at"]
    assert set(points.attack) == {"nearest"}
    assert set(points.n) == {4}
    for defence in ("none", "anti-adversary"):
        cells = [
            cell
            for cell in run.grid.cells
            if cell.defence == defence
            and cell.adversarial
            and math.isnan(run.grid.attacks[cell.attack].eps)
        ]
        assert {"deepfool", "nearest pgd"} <= {cell.attack for cell in cells}
        (benign,) = (
            cell for cell in run.grid.cells if cell.defence == defence and cell.adversarial is None
        )
        right = run.predictions(benign).arrays["classes"][:4] == run.grid.y[:4]
        for norm in Norm:
            found = points[(points.defence == defence) & (points.norm == norm)]
            assert tuple(found.eps) == SIZES[norm]
            assert (np.diff(found.value) <= 0).all()
            for row in found.itertuples():
                left = right.copy()
                for cell in cells:
                    wrong = run.predictions(cell).arrays["classes"][:4] != run.grid.y[:4]
                    left &= ~(wrong & (getattr(run.crafted(cell), norm)[:4] <= row.eps))
                assert row.value == left.mean()


def test_a_norm_in_python_and_in_files():
    assert settled({})["eps"] == pytest.approx(8 / 255)
    assert settled({"norm": "l2"})["eps"] == L2_EPS
    assert settled({"norm": "l2", "eps": 3})["eps"] == 3
    item = AttackItem.model_validate({"name": "adaptive", "norm": "l2", "eps": 0.5})
    (attack,) = item.variants()
    assert attack.parameters == {"norm": "l2", "eps": 0.5}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"norm": "l1"}, "norm.*'l1'"),
        ({"norm": 2}, "norm.*2"),
        ({"norm": "l2", "eps": 0}, "eps=0; give a number above 0, the L2 norm"),
        ({"norm": "l2", "eps": float("inf")}, "eps=inf; give a number"),
        ({"norm": "linf", "eps": 3}, "Did you mean 3/255"),
    ],
)
def test_norms_and_sizes_that_there_are_not(lenet, parameters, message):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    with pytest.raises(ValueError, match=message):
        attack_entries([Attack("adaptive", parameters=parameters)], classifier)
    with pytest.raises(ValueError, match=r"norm|eps"):
        AttackItem.model_validate({"name": "adaptive", **parameters})


def test_l_infinity_is_as_it_was():
    for member in members(norm="linf", eps=0.1, max_iter=4, queries=50):
        assert member.parameters.get("norm", math.inf) == math.inf
