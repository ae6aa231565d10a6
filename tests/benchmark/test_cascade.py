"""The adaptive suite as a cascade: attacks meet only the images that those before have left."""

import json

import numpy as np
import pytest
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch

from art_nip import zoo
from art_nip.benchmark import Attack, Benchmark
from art_nip.benchmark.analysis.results import GridResults
from art_nip.benchmark.analysis.warnings import FailedCellsWarning
from art_nip.benchmark.execution.cascade import NOBODY, UNATTACKED, Cascade
from art_nip.benchmark.plan.suite import IN_TURN, members, settled
from art_nip.benchmark.report.results import Results
from art_nip.benchmark.schema.words import Role, Status
from art_nip.benchmark.spec.sections import AttackItem
from tests.benchmark.report_builder import Builder, rate
from tests.helpers import make_classifier, to_framework

N, EPS = 8, 0.15
SMALL = {"eps": EPS, "max_iter": 4, "queries": 50}
DEFENCES = {"pytorch": {"ss": "ss", "nip": "nip"}, "tensorflow": {"nip": "nip"}}


@pytest.fixture(scope="module")
def ran(framework, lenet, digits, tmp_path_factory):
    (x, y), bank = digits["test"], tuple(part[:60] for part in digits["bank"])
    x, bank = to_framework(x[:N], framework), (to_framework(bank[0], framework), bank[1])
    benchmark = Benchmark(
        make_classifier(framework, lenet[framework]),
        [Attack("adaptive", parameters={**SMALL, "cascade": True})],
        DEFENCES[framework],
        threats=["adaptive"],
        store=tmp_path_factory.mktemp("cascade"),
        verbose=False,
    )
    table = benchmark.run(x, y[:N], bank=bank)
    with benchmark._grid(x, y[:N], bank) as grid:
        yield benchmark, table, GridResults(grid, benchmark._store)


def cascades(results):
    return [cell for cell in results.grid.cells if cell.attack == "adaptive: cascade"]


def test_each_image_has_the_example_that_broke_it(ran):
    _, table, results = ran
    assert not (table.metric == "error").any()
    worst = table[table.metric == "worst_case_accuracy"].set_index("defence")
    assert set(worst.index) == {*results.grid.defences}
    y, broken = results.grid.y, 0
    for cell in cascades(results):
        crafted = results.crafted(cell)
        by = crafted.broken_by
        parts = results.grid.attacks[cell.attack].against(results.grid.defences[cell.defence]).parts
        assert by.max() < len(parts)
        (benign,) = (
            other
            for other in results.grid.cells
            if (other.defence, other.adversarial) == (cell.defence, None)
        )
        right = results.predictions(benign).arrays["classes"] == y
        assert ((by == UNATTACKED) == ~right).all()
        assert (crafted.linf[by >= 0] <= EPS + 1e-5).all()
        assert (crafted.linf[by < 0] == 0).all()
        wrong = results.predictions(cell).arrays["classes"] != y
        assert (wrong == (by != NOBODY)).all()
        assert worst.loc[cell.defence].value == (by == NOBODY).mean()
        broken += (by >= 0).sum()
    assert broken > N


def test_the_records_name_the_attack(ran):
    benchmark, _, results = ran
    lines = (benchmark._store.folder / "records.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    found = {of["defence"]: of for of in records if of.get("attack") == "adaptive: cascade"}
    for cell in cascades(results):
        by = results.crafted(cell).broken_by
        names = found[cell.defence]["broken_by"]
        assert [name is None for name in names] == (by < 0).tolist()
        assert {*names} - {None} <= {str(role) for role in IN_TURN}


def test_the_parts_are_those_that_fit_the_defence(ran, framework):
    _, _, results = ran
    roles = {
        cell.defence: [
            part.role
            for part in results.grid.attacks[cell.attack]
            .against(results.grid.defences[cell.defence])
            .parts
        ]
        for cell in cascades(results)
    }
    assert Role.STEERING in roles["nip"]
    assert Role.TRANSFER in roles["nip"]
    assert Role.STEERING not in roles["none"]
    assert not {Role.TRANSFER, Role.BPDA} & {*roles["none"]}
    for found in roles.values():
        assert found == [role for role in IN_TURN if role in found]
        assert (Role.AUTOATTACK in found) == (framework == "pytorch")


def test_the_report_says_what_is_left_after_each(ran):
    benchmark, table, _ = ran
    path = benchmark.report()
    assert "broken by nothing before; left so far: fgsm" in path.read_text()
    page = path.with_suffix(".md").read_text()
    attacks = page[page.index("The cascade") : page.index("An attack meets only")]
    headings = [line for line in attacks.splitlines() if line.startswith("| defence")]
    found = [cell.strip() for line in headings for cell in line.split("|")[2:-1]]
    assert found == [role for role in IN_TURN if role in found]
    assert {Role.STEERING, Role.BPDA, Role.TRANSFER} <= {*found}
    left = table[(table.metric == "left_so_far") & (table.defence == "nip")]
    assert (left.value.diff()[1:] <= 0).all()
    worst = table[(table.metric == "worst_case_accuracy") & (table.defence == "nip")]
    assert left.value.iloc[-1] == worst.value.item()
    assert set(table[table.metric == "accuracy"].attack) == {
        *("benign", "adaptive: cascade", "adaptive: pgd, unbounded")
    }


class Moving:
    """An attack that adds a number to images, and counts them."""

    def __init__(self, by, seen):
        self._by, self._seen = by, seen

    def generate(self, x, y):
        self._seen.append(len(x))
        return x + np.float32(self._by)


def cascade(moves, eps=1.0):
    """Return a cascade on a classifier that calls a value up to .5 class 0, and what each saw."""
    seen, said = [], []
    found = Cascade(
        [(str(by), lambda by=by: Moving(by, seen)) for by in moves],
        lambda x: np.stack([0.5 - x[:, 0], x[:, 0] - 0.5], axis=1),
        lambda x, adversarial: np.abs(adversarial - x).max(axis=1),
        eps,
        said.append,
    )
    return found, seen, said


def test_attacks_meet_the_images_that_are_left():
    x = np.array([[0.45], [0.3], [0.1], [0.9]], np.float32)
    found, seen, said = cascade([0.1, 0.1, 0.3, 0.6, 0.1])
    examples = found.generate(x, np.zeros(4, int))
    assert seen == [3, 2, 2, 1]  # the last is wrong unattacked, and for the fifth none is left
    assert found.broken_by.tolist() == [0, 2, 3, UNATTACKED]
    assert examples[:, 0] == pytest.approx([0.55, 0.6, 0.7, 0.9])
    assert said[-1] == "0 of 4 images left after 0.6"


def test_an_example_outside_the_budget_breaks_nothing():
    found, seen, _ = cascade([0.6, 0.3], eps=0.5)
    x = np.array([[0.3]], np.float32)
    assert found.generate(x, np.zeros(1, int)) == pytest.approx(np.array([[0.6]]))
    assert found.broken_by.tolist() == [1]
    assert seen == [1, 1]


def test_a_part_that_fails_is_named():
    found, _, _ = cascade(["no number"])
    with pytest.raises(RuntimeError, match=r"'no number' of the cascade failed.*cascade=True"):
        found.generate(np.zeros((2, 1), np.float32), np.zeros(2, int))


class Tossing(PreprocessorPyTorch):
    """A random defence: one image in two is dimmed so much that nothing is left of it."""

    def forward(self, x, y=None):
        return x * torch.randint(2, (len(x), 1, 1, 1), device=x.device), y


class Refusing(PreprocessorPyTorch):
    """A defence that changes nothing, and whose surrogate losses raise an error."""

    def forward(self, x, y=None):
        return x, y

    def surrogate_losses(self, x, y, targets, classifier):
        raise RuntimeError("No loss today.")


@pytest.fixture
def small(lenet, tmp_path):
    """Make a small benchmark of a cascade on LeNet-5."""

    def made(defences, eps=1e-4, **keywords):
        return Benchmark(
            make_classifier("pytorch", lenet["pytorch"]),
            [Attack("adaptive", parameters={**SMALL, "eps": eps, "cascade": True})],
            defences,
            threats=["adaptive"],
            store=tmp_path,
            verbose=False,
            **keywords,
        )

    return made


@pytest.mark.parametrize(("n", "draws"), [(N, 10), (4 * N, 1)])
def test_a_random_defence_is_asked_again(small, digits, n, draws):
    x, y = (part[:n] for part in digits["test"])
    benchmark = small({"tossing": Tossing()}, draws=draws)
    table = benchmark.run(x, y)
    assert not (table.metric == "error").any()
    worst = table[table.metric == "worst_case_accuracy"].set_index("defence").value
    assert worst["none"] > 0.5
    # What is wrong before the first attack meets none, and is no more right than what they break.
    black = benchmark.classifier.predict(np.zeros_like(x)).argmax(axis=1)
    assert worst["tossing"] <= (black == y).mean() < 0.3


def test_a_cascade_that_failed_leaves_no_number(small, digits):
    x, y = (part[:2] for part in digits["test"])
    benchmark = small({"refusing": Refusing()})
    with pytest.warns(FailedCellsWarning, match="'steering' of the cascade failed"):
        table = benchmark.run(x, y)
    assert set(table[table.metric == "worst_case_accuracy"].defence) == {"none"}
    page = benchmark.report().with_suffix(".md").read_text()
    assert "refusing has the highest worst-case accuracy" not in page
    cascade = page[page.index("The cascade") :]
    row = next(line for line in cascade.splitlines() if line.startswith("| refusing |"))
    assert {cell.strip() for cell in row.split("|")[2:-1]} == {"–"}


def test_attacks_that_met_no_image_vouch_for_nothing(small, digits):
    x, y = (part[:2] for part in digits["test"])
    benchmark = small({})
    benchmark.run(x, (y + 1) % 10)
    results = Results(benchmark._store.folder)
    found = {item.item: item for item in results.checklist("adaptive", "held-out")}
    item = found["AutoAttack raises no flag"]
    assert item.evidence == "no result of autoattack, for which no image was left"
    assert {found[name].status for name in (item.item, "several steps beat one")} == {
        Status.NOT_RUN
    }
    (worst,) = (row for row in results.rows if row.metric == "worst_case_accuracy")
    assert (worst.value, worst.n) == (0, 2)
    (entry,) = json.loads((benchmark._store.folder / "entry.json").read_text())
    assert "unreliable" not in entry


def test_the_attacks_of_a_cascade_are_those_of_its_suite(tmp_path):
    builder = Builder(tmp_path, {}, defences=("none",)).fill(threats=("adaptive",))
    for suite in ("a", "a: b"):
        for role in (Role.PGD, Role.FGSM):
            label = f"{suite}: {role}"
            builder.row(label, "none", "left_so_far", rate(3, 40), ("held-out", "adaptive"))
    results = Results(builder.write())
    assert [row.attack for row in results.cascade("a", "held-out")] == ["a: pgd", "a: fgsm"]
    assert [row.attack for row in results.cascade("a: b", "held-out")] == [
        *("a: b: pgd", "a: b: fgsm")
    ]
    assert results.cascade("a", "leaked") == []


def test_a_cascade_in_files():
    (attack,) = AttackItem.model_validate({"name": "adaptive", "cascade": True}).variants()
    assert attack.parameters == {"cascade": True}
    with pytest.raises(ValueError, match="cascade='yes'; give True or False"):
        AttackItem.model_validate({"name": "adaptive", "cascade": "yes"})


def test_it_has_all_that_keeps_to_the_budget():
    whole = {member.role for member in members(**settled({}))}
    beyond = {Role.TRANSFER_2, Role.TRANSFER_4, Role.PGD_UNBOUNDED}
    assert set(IN_TURN) == whole - beyond
    assert len(set(IN_TURN)) == len(IN_TURN)


def test_two_classes_are_enough(tmp_path):
    """The difference of logits ratio takes three, and would fail the whole cascade."""
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=2)
    classifier = make_classifier("pytorch", model, nb_classes=2)
    x = np.random.default_rng(0).random((2, 1, 28, 28), np.float32)
    suite = Attack("adaptive", parameters={**SMALL, "max_iter": 2, "cascade": True})
    benchmark = Benchmark(classifier, [suite], threats=["adaptive"], store=tmp_path, verbose=False)
    table = benchmark.run(x, classifier.predict(x).argmax(axis=1))
    assert not (table.metric == "error").any()
    assert (table.metric == "worst_case_accuracy").any()
