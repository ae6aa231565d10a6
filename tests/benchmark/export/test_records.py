"""The files of a run for other programs say, image by image, what the table says."""

import hashlib
import json

import numpy as np
import pytest

from art_nip.benchmark import Attack
from art_nip.benchmark.export import entries, records
from art_nip.benchmark.report.results import Results
from tests.benchmark.helpers import PGD, Noisy, Shift, data, figure, make
from tests.benchmark.report_builder import Builder, suite
from tests.helpers import make_classifier

SETTINGS = {"protocols": ["held-out", "leaked"], "threats": ["oblivious", "adaptive"]}


class Corner(Shift):
    """Inverts one value of each image."""

    def generate(self, x, y=None, **kwargs):
        x = x.copy()
        x[:, 0, 0] = np.abs(x[:, 0, 0] - 0.75)
        return x


def read(folder):
    text = (folder / "records.jsonl").read_text(encoding="utf-8")
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


@pytest.fixture(scope="module")
def run(framework, lenet, digits, tmp_path_factory):
    classifier = make_classifier(framework, lenet[framework])
    x, y, bank = data(digits, framework)
    store = tmp_path_factory.mktemp("records") / "store"
    attacks = [
        Attack("fgsm", parameters={"eps": 0.2}),
        Attack("pgd", "p", PGD, limit=6),
        Attack(Corner(classifier), "corner", limit=3),
    ]
    benchmark = make(classifier, attacks, ["ss", "nip"], store=store, data="digits", **SETTINGS)
    return benchmark.run(x, y, bank=bank), store, x, y, classifier


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"], scope="module")
def test_rates_of_the_table_follow_from_the_records(run):
    table, store, x, y, _ = run
    images, *cells = read(store)
    assert images["record"] == "images"
    assert images["data"] == "digits"
    assert images["labels"] == y.tolist()
    assert images["hashes"] == [hashlib.sha512(image.tobytes()).hexdigest() for image in x]
    found = {
        tuple(cell[k] for k in ("attack", "defence", "protocol", "threat")): cell for cell in cells
    }
    assert len(found) == len(cells) == 4 * 3 * 2 * 2
    rows = table[table.metric.isin(["accuracy", "asr", "dsr", "l2", "linf"])]
    for row in rows.itertuples():
        cell = found[row.attack, row.defence, row.protocol, row.threat]
        labels = y[: cell["n"]]
        right = np.array(cell["predicted"]) == labels
        ori = np.array(cell["ori_success"])
        if row.metric == "accuracy":
            assert (right.mean(), cell["n"]) == (pytest.approx(row.value), row.n)
            continue
        bare = found[row.attack, "none", row.protocol, row.threat]
        adversarial, before = (
            (bare, np.array(bare["ori_success"])) if row.metric == "dsr" else (cell, ori)
        )
        hit = np.array(adversarial["adv_success"]) & ~before
        if row.metric == "asr":
            assert hit.sum() == pytest.approx(row.value * (~before).sum())
        elif row.metric == "dsr" and hit.any():
            assert right[hit].mean() == pytest.approx(row.value)
        elif hit.any():
            sizes = np.array(cell["distances"][row.metric])[hit]
            assert sizes.mean() == pytest.approx(row.value, rel=1e-5)


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"], scope="module")
def test_cells_say_what_the_attack_was_and_cost(run):
    _, store, x, _, _ = run
    by_attack = {cell["attack"]: cell for cell in read(store)[1:] if cell["defence"] == "nip"
                 and cell["threat"] == "adaptive"}  # fmt: skip
    assert "adv_success" not in by_attack["benign"]
    pgd = by_attack["p"]
    assert (pgd["n"], pgd["eps"], pgd["suite"], pgd["through_defence"]) == (6, 0.2, None, True)
    assert pgd["num_backwards"] >= PGD["max_iter"] * 6
    assert pgd["seconds"] > 0
    assert max(pgd["distances"]["linf"]) <= 0.2 + 1e-6
    corner = by_attack["corner"]
    assert corner["eps"] is None
    changed = x[:3, 0, 0][0].size
    assert corner["distances"]["l0"] == [changed] * 3
    assert min(pgd["distances"]["l0"]) > changed


def test_failures_are_records_and_what_is_missing_is_not_there(
    lenet, digits, tmp_path, monkeypatch
):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y, _ = data(digits, "pytorch")
    monkeypatch.setattr(Shift, "broken", True)
    benchmark = make(classifier, [Attack(Shift(classifier), "shift"), "fgsm"], store=tmp_path)
    with pytest.warns(UserWarning, match="raised an error"):
        benchmark.run(x, y)
    kinds = [(record["record"], record.get("attack")) for record in read(tmp_path)]
    assert kinds == [("images", None), ("cell", "benign"), ("failure", "shift"), ("cell", "fgsm")]
    assert "out of order" in read(tmp_path)[2]["error"]


def test_random_defences_have_the_classes_of_all_draws(lenet, digits, tmp_path):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y, _ = data(digits, "pytorch")
    make(classifier, ["fgsm"], {"noisy": Noisy(1.0)}, store=tmp_path, draws=3).run(x, y)
    cells = [cell for cell in read(tmp_path) if cell.get("defence") == "noisy"]
    assert len(cells) == 2
    for cell in cells:
        assert [len(draws) for draws in cell["draws"]] == [3] * len(x)
        assert [draws[0] for draws in cell["draws"]] == cell["predicted"]
    assert not any("draws" in cell for cell in read(tmp_path) if cell.get("defence") == "none")


def test_numbers_that_are_none_are_null():
    """No JSON has NaN: strict readers refuse the file."""
    assert records._numbers(np.array([np.nan, np.inf, 1 / 3])) == [None, None, 0.333333]
    assert records._numbers(np.array([3, 4])) == [3, 4]


def test_an_entry_has_robustbenchs_fields_as_far_as_they_are_known(tmp_path):
    none, nip = entries.entries(Results(suite(tmp_path / "store")))
    assert none["name"] == "none"
    assert nip["dataset"] == "gtsrb"
    assert nip["architecture"] == "PyTorchClassifier of Sequential"
    assert nip["number_forward_passes"] == 2
    assert nip["eps"] == "8/255"
    assert (nip["clean_acc"], nip["autoattack_acc"], nip["external"]) == ("97.50", "25.00", "20.00")
    assert (none["unreliable"], nip["unreliable"]) == (False, True)
    assert nip["art_nip"]["n"]["external"] == 40
    assert not {"authors", "venue", "link", "additional_data", "reported"} & nip.keys()
    assert "40 images" in nip["footnote"]


def test_of_two_suites_of_one_budget_an_entry_has_the_lower(tmp_path):
    folder = suite(tmp_path / "store")
    description = json.loads((folder / "benchmark.json").read_text())
    other = {**description["attacks"][0], "label": "other: pgd", "name": "pgd", "suite": "other"}
    description["attacks"].append(other)
    (folder / "benchmark.json").write_text(json.dumps(description))
    with open(folder / "table.csv", "a", encoding="utf-8") as file:
        for defence, worst in (("none", 0.05), ("nip", 0.3)):
            row = [*("other", defence, "held-out", "adaptive", "worst_case_accuracy")]
            row += [worst, 0, 1, 40, "", 8 / 255, "", "linf"]
            file.write(",".join(map(str, row)) + "\n")
    none, nip = entries.entries(Results(folder))
    assert (none["external"], nip["external"]) == ("5.00", "20.00")
    assert "suite 'other'" in none["footnote"]
    assert (none["unreliable"], nip["unreliable"]) == (False, True)


@pytest.mark.parametrize(
    ("eps", "text"), [(0.3, "0.3"), (0.2, "0.2"), (1 / 30, "0.0333333"), (4 / 255, "4/255")]
)
def test_sizes_as_robustbench_writes_them(tmp_path, eps, text):
    assert entries.entries(Results(suite(tmp_path / "store", eps)))[0]["eps"] == text


def test_what_nobody_attacked_through_has_no_robust_accuracy(tmp_path):
    folder = Builder(tmp_path / "store").fill(("held-out", "leaked")).write()
    found = entries.entries(Results(folder))
    assert [(entry["name"], entry["art_nip"]["protocol"]) for entry in found] == [
        (defence, protocol)
        for protocol in ("held-out", "leaked")
        for defence in ("none", "nip", "ss")
    ]
    assert not {"eps", "autoattack_acc", "external", "dataset"} & found[1].keys()


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"], scope="module")
def test_the_benchmark_writes_an_entry_for_each_defence(run):
    table, store, *_ = run
    found = json.loads((store / "entry.json").read_text(encoding="utf-8"))
    where = {"attack": "benign", "defence": "nip", "protocol": "leaked", "threat": "adaptive"}
    (entry,) = (e for e in found if (e["name"], e["art_nip"]["protocol"]) == ("nip", "leaked"))
    assert entry["clean_acc"] == f"{100 * figure(table, 'accuracy', **where)['value']:.2f}"
    assert entry["dataset"] == "digits"
