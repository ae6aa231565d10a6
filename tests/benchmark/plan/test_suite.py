"""The adaptive suite: what belongs to it, the worst case over it, and the checklist of it."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from art.defences import preprocessor
from art.defences.preprocessor import SpatialSmoothing
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch

from art_nip import defences, zoo
from art_nip.benchmark import Attack, Benchmark
from art_nip.benchmark.analysis.checklist import _findings, _unbounded
from art_nip.benchmark.analysis.worst_case import Outcome
from art_nip.benchmark.execution.gradient_checks import inspect
from art_nip.benchmark.plan.attacks import attack_entries
from art_nip.benchmark.plan.defences import DefenceEntry, defence_entries
from art_nip.benchmark.plan.suite import DEFAULTS, members, settled
from art_nip.benchmark.schema.words import Kind, Protocol, Role, Status
from art_nip.estimators.clones import defended
from art_nip.utils.seeds import seeded
from tests.helpers import FRAMEWORKS, make_classifier

EPS = 0.15
SMALL = {"eps": EPS, "max_iter": 4, "queries": 50}
N = 8


class Rounding(PreprocessorPyTorch):
    """A defence without a gradient: black and white."""

    def forward(self, x, y=None):
        return torch.round(x), y


class Flipping(PreprocessorPyTorch):
    """A defence that lies about its gradient."""

    def forward(self, x, y=None):
        return 2 * x.detach() - x, y


class Dimming(PreprocessorPyTorch):
    """A random defence."""

    def forward(self, x, y=None):
        return x * (0.7 + 0.3 * torch.rand(len(x), 1, 1, 1, device=x.device)), y


@pytest.fixture(scope="module")
def undefended(lenet):
    return make_classifier("pytorch", lenet["pytorch"])


@pytest.fixture(scope="module")
def trained(lenet):
    """Another classifier: it sees less of the edges."""
    dim = torch.nn.Sequential(torch.nn.AvgPool2d(3, 1, 1), lenet["pytorch"])
    return make_classifier("pytorch", dim)


@pytest.fixture(scope="module")
def ran(undefended, trained, digits, tmp_path_factory):
    benchmark = Benchmark(
        undefended,
        [Attack("adaptive", parameters=SMALL, limit=N), "pgd"],
        {
            "ss": "ss",
            "rounding": Rounding(),
            "dimming": Dimming(),
            "nip": "nip",
            "trained": trained,
        },
        threats=["oblivious", "adaptive"],
        store=tmp_path_factory.mktemp("suite"),
        verbose=False,
    )
    x, y = digits["test"]
    bank = tuple(part[:60] for part in digits["bank"])
    table = benchmark.run(x[:12], y[:12], bank=bank)
    return benchmark, table, x[:12], y[:12], bank


def values(table, metric, threat="adaptive"):
    rows = table[(table["metric"] == metric) & (table["threat"] == threat)]
    return {(row.attack, row.defence): row for row in rows.itertuples()}


def test_every_member_is_run_where_it_fits(ran):
    _, table, *_ = ran
    assert not (table["metric"] == "error").any()
    found = set(values(table, "accuracy"))
    for defence, kind in (
        ("none", "none"),
        ("ss", "preprocessor"),
        ("nip", "nip"),
        ("trained", "trained"),
    ):
        expected = {
            f"adaptive: {each.role}"
            for each in members(**settled(SMALL))
            if kind in each.kinds and (defence in ("ss", "nip") or not each.by_surrogates)
        }
        there = {attack for attack, other in found if other == defence}
        assert there == {"benign", "pgd", *expected}
    assert not any(attack.startswith("adaptive") for attack, _ in values(table, "dsr", "oblivious"))


def test_roles_are_the_suite(ran):
    roles = [each.role for each in members(**DEFAULTS)]
    assert len(set(roles)) == len(roles)
    assert set(roles) == set(Role) - {Role.CASCADE}
    assert all(set(each.kinds) <= set(Kind) for each in members(**DEFAULTS))


def test_the_worst_case_is_that_of_each_image(ran):
    benchmark, table, x, y, bank = ran
    with benchmark._grid(x, y, bank) as grid:
        cells = grid.cells
    worst = values(table, "worst_case_accuracy")
    assert {defence for _, defence in worst} == {*grid.defences}
    for (suite, defence), row in worst.items():
        assert suite == "adaptive"
        robust = np.ones(N, bool)
        for cell in cells:
            if cell.defence != defence or cell.threat != "adaptive" or cell.attack == "pgd":
                continue
            wrong = benchmark._store.load("predictions", cell.predictions).arrays["classes"][:N]
            wrong = wrong != y[:N]
            if cell.adversarial:
                attacked = benchmark._store.load("adversarial", cell.adversarial).arrays["x"]
                wrong &= np.abs(attacked - x[:N]).max(axis=(1, 2, 3)) <= EPS + 1e-4
            robust &= ~wrong
        assert (row.value, row.n, row.eps) == (robust.mean(), N, EPS)
        within = [
            other.value
            for (attack, name), other in values(table, "accuracy").items()
            if name == defence and attack in {"adaptive: fgsm", "adaptive: pgd", "adaptive: square"}
        ]
        assert row.value <= min(within)
    unbounded = values(table, "accuracy")["adaptive: pgd, unbounded", "none"]
    assert unbounded.value < worst["adaptive", "none"].value


def test_each_worst_case_is_compared_with_that_of_no_defence(ran):
    _, table, *_ = ran
    worst = values(table, "worst_case_accuracy")
    found, ps = values(table, "worst_case_difference"), values(table, "worst_case_p")
    assert set(found) == set(ps) == set(worst) - {("adaptive", "none")}
    for key, row in found.items():
        expected = worst[key].value - worst["adaptive", "none"].value
        assert row.value == pytest.approx(expected)
        assert row.low < row.value < row.high
        assert (row.n, row.eps) == (ps[key].n, ps[key].eps) == (N, EPS)
        # Eight images can show nothing, least of all for five defences.
        assert 2 / 2**N < ps[key].value <= 1


def test_a_plan_says_how_many_images_show_a_small_difference(ran, undefended, tmp_path, capsys):
    benchmark, _, x, y, bank = ran
    benchmark.plan(x, y, bank=bank)
    assert capsys.readouterr().err == ""
    for given, expected in (({}, ""), ({"ss": "ss"}, "'adaptive' attacks 8 images. It takes 920")):
        loud = Benchmark(
            undefended,
            [Attack("adaptive", parameters=SMALL, limit=N)],
            given,
            threats=["adaptive"],
            store=tmp_path,
        )
        loud.plan(x, y)
        printed = capsys.readouterr().err
        assert expected in printed
        assert bool(printed) == bool(expected)


def test_transferred_examples_are_crafted_once(ran):
    benchmark, _, x, y, bank = ran
    with benchmark._grid(x, y, bank) as grid:
        cells = grid.cells
    keys = {cell.adversarial for cell in cells if cell.attack == "adaptive: transfer"}
    assert len(keys) == 1
    through = {cell.adversarial for cell in cells if cell.attack == "adaptive: pgd"}
    assert len(through) == len(grid.defences)


def test_nothing_is_left_to_do(ran):
    benchmark, table, x, y, bank = ran
    plan = benchmark.plan(x, y, bank=bank)
    assert plan["cached"].all()
    again = benchmark.run(x, y, bank=bank)
    assert again.drop(columns="seconds").equals(table.drop(columns="seconds"))


def statuses(folder):
    items = json.loads((folder / "checklist.json").read_text())
    assert all(each["evidence"] for each in items)
    return {(each["defence"], each["item"]): each["status"] for each in items}


def test_the_checklist_sees_through_a_defence_without_gradients(ran):
    benchmark, *_ = ran
    found = statuses(benchmark._store.folder)
    assert found["rounding", "gradients are not zero"] == Status.FAILED
    assert found["dimming", "the same image gets the same answer"] == Status.FAILED
    assert found["rounding", "AutoAttack raises no flag"] == Status.FAILED
    assert found["none", "AutoAttack raises no flag"] == Status.PASSED
    for defence in ("none", "ss", "nip", "trained"):
        assert found[defence, "gradients are not zero"] == Status.PASSED
        assert found[defence, "the same image gets the same answer"] == Status.PASSED
        assert found[defence, "the cost is known"] == Status.PASSED
    for defence in ("none", "trained"):
        assert found[defence, "gradients are those of the loss"] == Status.PASSED
        assert found[defence, "without a bound, accuracy falls to chance"] == Status.PASSED
    assert found["none", "transferred examples add nothing"] == Status.NOT_RUN
    assert found["dimming", "gradients are those of the loss"] == Status.NOT_RUN


def test_the_report_has_the_worst_case_first(ran):
    benchmark, table, *_ = ran
    page = benchmark.report().with_suffix(".md").read_text()
    section = page.split("## Adaptive attacks, held-out")[1].split("\n## ")[0]
    assert section.index("Worst-case accuracy") < section.index("Checklist")
    assert section.index("Checklist") < section.index("Robust accuracy")
    worst = values(table, "worst_case_accuracy")["adaptive", "ss"]
    row = next(line for line in section.splitlines() if line.startswith("| ss |"))
    row = row.replace("\xa0", " ")
    assert f"{worst.value:.2f}" in row
    difference = values(table, "worst_case_difference")["adaptive", "ss"]
    assert f"{difference.value:.2f} [{difference.low:.2f}, {difference.high:.2f}]" in row
    assert f"| {values(table, 'worst_case_p')['adaptive', 'ss'].value:.3f} |" in row
    bare = next(line for line in section.splitlines() if line.startswith("| none |"))
    assert "|  |  |" in bare
    assert "Unfinished" not in page
    # The attacks of a suite differ in budget: the worst of them says nothing.
    assert (
        "0.00"
        not in next(line for line in section.splitlines() if line.startswith("| worst attack |"))
        or values(table, "accuracy")["pgd", "none"].value == 0
    )


def outcome(**broken):
    """Return an outcome of ten images, given how many of the first each attack breaks."""
    masks = {Role(role.replace("_", " ")): np.arange(10) < n for role, n in broken.items()}
    return Outcome("adaptive", "d", Protocol.HELD_OUT, 0.1, np.zeros(10, bool), masks, masks, {})


def findings(outcome, facts, kind=Kind.PREPROCESSOR, offers=False):
    defence = DefenceEntry(
        "d", "d", {}, "", None, learns=False, kind=kind, offers_surrogates=offers
    )
    return _findings(outcome, facts, nb_classes=10, defence=defence)


@pytest.mark.parametrize(
    ("item", "given", "expected"),
    [
        ("several steps beat one", {"fgsm": 5, "pgd": 8}, Status.PASSED),
        ("several steps beat one", {"fgsm": 8, "pgd": 5}, Status.FAILED),
        ("several steps beat one", {"fgsm": 8}, Status.NOT_RUN),
        ("more steps and restarts add nothing", {"pgd": 8, "pgd, more": 9}, Status.PASSED),
        ("more steps and restarts add nothing", {"pgd": 6, "pgd, more": 9}, Status.FAILED),
        ("without a bound, accuracy falls to chance", {"pgd, unbounded": 10}, Status.PASSED),
        ("without a bound, accuracy falls to chance", {"pgd, unbounded": 8}, Status.FAILED),
        ("attacks without gradients add nothing", {"square": 9, "apgd dlr": 3}, Status.FAILED),
        (
            "attacks without gradients add nothing",
            {"square": 9, "bpda": 9, "fgsm": 1},
            Status.PASSED,
        ),
        ("random noise adds nothing", {"noise": 4, "pgd": 1}, Status.FAILED),
        ("transferred examples add nothing", {"transfer": 7, "square": 7}, Status.PASSED),
        ("transferred examples add nothing", {"transfer": 7, "square": 2}, Status.FAILED),
        ("transferred examples add nothing", {"transfer": 7, "autoattack": 7}, Status.PASSED),
        ("AutoAttack raises no flag", {"pgd": 7}, Status.NOT_RUN),
        ("AutoAttack raises no flag", {"autoattack": 7}, Status.PASSED),
    ],
)
def test_items_pass_and_fail(item, given, expected):
    status, evidence = findings(outcome(**given), {})[item]
    assert status == expected
    assert evidence


def test_accuracy_by_chance_is_no_more_than_chance():
    of_three = replace(outcome(), wrong={Role.PGD_UNBOUNDED: np.arange(3) < 2})
    assert _unbounded(of_three, 1 / 3)[0] == Status.PASSED


def test_flags_of_autoattack_are_evidence():
    flagged = replace(outcome(autoattack=7), flags=("gradients are zero", "it is random"))
    status, evidence = findings(flagged, {})["AutoAttack raises no flag"]
    assert status == Status.FAILED
    assert evidence == "gradients are zero; it is random"


def test_autoattack_is_for_pytorch(lenet):
    for framework in FRAMEWORKS:
        classifier = make_classifier(framework, lenet[framework])
        roles = {entry.role for entry in attack_entries(["adaptive"], classifier)}
        assert (Role.AUTOATTACK in roles) == (framework == "pytorch")
        assert roles | {Role.AUTOATTACK} == set(Role) - {Role.CASCADE}


def test_answers_that_are_no_numbers_are_not_random(lenet, digits):
    class Spoiling(PreprocessorPyTorch):
        def forward(self, x, y=None):
            return x * float("nan"), y

    classifier = defended(make_classifier("pytorch", lenet["pytorch"]), Spoiling())
    assert inspect(classifier, digits["test"][0][:2])["deterministic"]


def roles_against_none(classifier):
    (none,) = defence_entries([], classifier)
    return {entry.role for entry in attack_entries(["adaptive"], classifier) if entry.fits(none)}


def test_a_classifier_that_is_defended_already_meets_what_is_made_for_it(framework, lenet):
    undefended = make_classifier(framework, lenet[framework])
    assert roles_against_none(undefended) & {Role.BPDA, Role.STEERING, Role.TRANSFER} == set()
    suffix = "PyTorch" if framework == "pytorch" else "TensorFlowV2"
    kind = getattr(preprocessor, "SpatialSmoothing" + suffix)
    smoothing = kind(3, channels_first=framework == "pytorch")
    already = make_classifier(framework, lenet[framework], preprocessing_defences=[smoothing])
    assert Role.BPDA in roles_against_none(already)
    assert Role.STEERING not in roles_against_none(already)
    smoothing.surrogate_losses = lambda x, y, targets, classifier: []
    assert Role.STEERING in roles_against_none(already)
    (_, trained) = defence_entries([already], undefended)
    assert trained.kind is Kind.PREPROCESSOR
    assert trained.offers_surrogates


def test_what_compares_three_scores_is_not_for_two_classes(framework):
    shape = (1, 28, 28) if framework == "pytorch" else (28, 28, 1)
    for nb_classes in (2, 3):
        model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=nb_classes)
        classifier = make_classifier(framework, model, nb_classes=nb_classes)
        suite, cascade = (
            attack_entries([Attack("adaptive", parameters={"cascade": flag})], classifier)
            for flag in (False, True)
        )
        for entries in (suite, cascade[0].parts):
            assert (Role.APGD_DLR in {entry.role for entry in entries}) == (nb_classes > 2)


@pytest.mark.parametrize(
    ("given", "kind", "offers", "expected"),
    [
        ({"pgd": 9}, Kind.PREPROCESSOR, False, Status.FAILED),
        ({"pgd": 9}, Kind.PREPROCESSOR, True, Status.NOT_RUN),
        ({"steering": 9}, Kind.PREPROCESSOR, True, Status.PASSED),
        ({"auxiliary": 9}, Kind.SUPPRESSING, True, Status.PASSED),
        ({"pgd": 9}, Kind.TRAINED, False, Status.NOT_RUN),
        ({"pgd": 9}, Kind.NONE, False, Status.PASSED),
    ],
)
def test_a_defence_needs_an_attack_of_its_own(given, kind, offers, expected):
    found = findings(outcome(**given), {}, kind, offers)["an attack was made for this defence"]
    assert found[0] == expected
    assert found[1]


def test_defences_that_offer_surrogate_losses(undefended):
    class Offering(Rounding):
        def surrogate_losses(self, x, y, targets, classifier):
            return []

    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10, defence="cas")
    cas = make_classifier("pytorch", model)
    mine = {"mine": Offering(), "rounding": Rounding(), "cas": cas, "bare": undefended}
    given = {**{name: name for name in defences.NAMES}, **mine}
    entries = {each.label: each for each in defence_entries(given, undefended)}
    offering = {label for label, each in entries.items() if each.offers_surrogates}
    assert offering == {*defences.NAMES, "mine", "cas"} - {"tvm-art"}
    (steering,) = (
        each for each in attack_entries(["adaptive"], undefended) if each.role == Role.STEERING
    )
    assert {label for label, each in entries.items() if steering.fits(each)} == offering


def test_a_gradient_is_compared_with_the_loss(undefended, digits):
    x = digits["test"][0][:6]
    true = inspect(undefended, x)
    assert true["deterministic"]
    assert true["nonzero"] == 1
    np.testing.assert_allclose(np.median(true["slopes"]), 1, atol=0.05)
    lying = inspect(defended(undefended, Flipping()), x)
    assert np.median(lying["slopes"]) < 0
    assert inspect(defended(undefended, Rounding()), x)["nonzero"] == 0
    with seeded(0):
        assert not inspect(defended(undefended, Dimming()), x)["deterministic"]
    smoothing = SpatialSmoothing(window_size=3, channels_first=True)
    assert np.median(inspect(defended(undefended, smoothing), x)["slopes"]) < 0.8


def test_slopes_decide(undefended):
    def status(slopes):
        facts = {"deterministic": True, "nonzero": 1.0, "slopes": slopes}
        return findings(outcome(pgd=1), facts)["gradients are those of the loss"][0]

    assert status([0.9, 1.0, 5.0]) == Status.PASSED
    assert status([0.1, 0.2, 1.0]) == Status.FAILED
    assert status([-8.0, -2.0, 1.0, 1.0, 1.0, 6.0, 12.0]) == Status.FAILED


@pytest.mark.parametrize(
    ("steepness", "expected"),
    [([0.2, 0.1, 0.0], Status.PASSED), ([0.0, 1e-20, 0.1], Status.FAILED), ([], Status.NOT_RUN)],
)
def test_a_saturated_loss_is_found(steepness, expected):
    found = findings(outcome(pgd=1), {"steepness": steepness})["the loss is not saturated"]
    assert found[0] == expected


@pytest.mark.parametrize(
    ("given", "benign", "expected"),
    [
        ({"pgd": 9}, {"forward_per_image": 1.0, "backward_per_image": 0.0}, Status.PASSED),
        ({"pgd": 9}, {"forward_per_image": 2.0, "backward_per_image": 1.0}, Status.FAILED),
        ({"steering": 9}, {"forward_per_image": 2.0, "backward_per_image": 1.0}, Status.PASSED),
        ({"pgd": 9}, {}, Status.NOT_RUN),
    ],
)
def test_a_defence_that_takes_gradients_needs_an_attack_of_its_own(given, benign, expected):
    found = findings(replace(outcome(**given), benign=benign), {})
    assert found["no gradients are taken to answer"][0] == expected


def test_a_large_budget_is_allowed(undefended):
    entries = attack_entries([Attack("adaptive", parameters={"eps": 0.4})], undefended)
    assert {each.eps for each in entries if each.role == Role.TRANSFER_4} == {1.0}


def test_a_suite_needs_the_adaptive_threat(undefended, tmp_path):
    with pytest.raises(ValueError, match=r'add "adaptive" to threats, which are oblivious'):
        Benchmark(undefended, ["adaptive"], store=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"epsilon": 0.1}, "Did you mean 'eps'"),
        ({"eps": 0}, "eps=0; give a share"),
        ({"eps": "8"}, "eps='8'"),
        ({"max_iter": 1}, "max_iter=1; give a whole number of at least 2"),
        ({"queries": 10}, "queries=10; give a whole number of at least 50"),
    ],
)
def test_a_suite_refuses_what_it_does_not_have(undefended, parameters, message):
    with pytest.raises(ValueError, match=message):
        attack_entries([Attack("adaptive", parameters=parameters)], undefended)


def test_a_suite_needs_an_image(undefended):
    with pytest.raises(ValueError, match="limit=0; give a whole number of at least 1"):
        attack_entries([Attack("adaptive", limit=0)], undefended)


def test_two_suites_have_two_labels(undefended):
    small = Attack("adaptive", "small", {"eps": 0.01}, limit=5)
    entries = attack_entries([small, "adaptive"], undefended)
    assert {each.suite for each in entries} == {"small", "adaptive"}
    assert {each.limit for each in entries if each.suite == "small"} == {5}
    assert {each.limit for each in entries if each.suite == "adaptive"} == {100}
    with pytest.raises(ValueError, match="Two attacks are called"):
        attack_entries(["adaptive", "adaptive"], undefended)


@pytest.mark.parametrize("label", ["adaptive", "adaptive: steering", "adaptive: cascade"])
def test_no_attack_has_the_label_of_a_suite_or_of_what_is_in_it(undefended, label):
    cascade = Attack("adaptive", parameters={"cascade": True})
    with pytest.raises(ValueError, match=f"Two attacks are called '{label}'"):
        attack_entries([cascade, Attack("fgsm", label)], undefended)
    with pytest.raises(ValueError, match="No attack can be called 'benign'"):
        attack_entries([Attack("adaptive", "benign")], undefended)


def test_kinds_of_defences(undefended, trained):
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10, defence="cas")
    cas = make_classifier("pytorch", model)
    given = {"a": "ss", "b": "nip", "c": trained, "d": Rounding(), "e": cas}
    entries = defence_entries(given, undefended)
    assert [each.kind for each in entries] == [
        "none",
        "preprocessor",
        "nip",
        "trained",
        "preprocessor",
        "suppressing",
    ]
