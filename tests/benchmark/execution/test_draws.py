"""Random defences: how often they are asked, what of it is kept, and what counts."""

import json

import numpy as np
import pytest
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch, PreprocessorTensorFlowV2

from art_nip.benchmark import Attack, Benchmark
from art_nip.benchmark.execution.draws import answers, wrong_by_majority
from art_nip.benchmark.plan import suite
from art_nip.benchmark.schema.words import Role
from tests.helpers import make_classifier, to_framework

N, DRAWS = 24, 6


class Coin(PreprocessorPyTorch):
    """Makes an image black, or leaves it, as a coin says."""

    def forward(self, x, y=None):
        return x * torch.randint(2, (len(x), 1, 1, 1), device=x.device), y


class CoinTensorFlow(PreprocessorTensorFlowV2):
    """The same."""

    def forward(self, x, y=None):
        import tensorflow as tf

        coins = tf.random.uniform((len(x), 1, 1, 1), 0, 2, tf.int32)
        return x * tf.cast(coins, x.dtype), y


@pytest.fixture(scope="module")
def ran(framework, lenet, digits, tmp_path_factory):
    coin = Coin() if framework == "pytorch" else CoinTensorFlow()
    x, y = digits["test"]
    # A black image is one of a class, whose images need no luck.
    black = make_classifier(framework, lenet[framework]).predict(
        to_framework(np.zeros((1, 1, 28, 28), np.float32), framework)
    )
    kept = np.flatnonzero(y != black.argmax())[:N]
    x, y = to_framework(x[kept], framework), y[kept]

    def made(folder, draws=DRAWS):
        return Benchmark(
            make_classifier(framework, lenet[framework]),
            ["fgsm", Attack("adaptive", parameters={"eps": 0.02, "max_iter": 2}, limit=N)],
            {"coin": coin, "ss": "ss"},
            threats=["oblivious", "adaptive"],
            store=folder,
            draws=draws,
            verbose=False,
        )

    members = suite.members
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            suite, "members", lambda **given: (m for m in members(**given) if m.role == Role.NOISE)
        )
        benchmark = made(tmp_path_factory.mktemp("draws"))
        table = benchmark.run(x, y)
        yield benchmark, table, x, y, made


def value(table, attack, defence, metric, threat="adaptive"):
    where = (table.attack == attack) & (table.defence == defence) & (table.metric == metric)
    (found,) = table[where & (table.threat == threat)].value
    return found


def test_a_coin_is_worth_nothing_to_who_asks_again(ran):
    _, table, *_ = ran
    for threat in ("oblivious", "adaptive"):
        once = value(table, "benign", "coin", "accuracy", threat)
        assert 0.2 < once < 0.8
        assert value(table, "benign", "coin", "accuracy_worst_draw", threat) <= 0.2
    assert value(table, "adaptive", "coin", "worst_case_accuracy") <= 0.1
    once = value(table, "adaptive", "coin", "worst_case_accuracy_one_draw")
    assert once > value(table, "adaptive", "coin", "worst_case_accuracy")
    majority = value(table, "adaptive", "coin", "worst_case_accuracy_majority")
    assert value(table, "adaptive", "coin", "worst_case_accuracy") <= majority <= 1


def test_what_is_not_random_is_asked_once(ran):
    benchmark, table, x, y, _ = ran
    metrics = set(table[table.defence != "coin"].metric)
    assert not {each for each in metrics if "draw" in each or "majority" in each}
    with benchmark._grid(x, y, None) as grid:
        for cell in grid.cells:
            arrays = benchmark._store.load("predictions", cell.predictions).arrays
            assert ("draws" in arrays) == (cell.defence == "coin")
            if cell.defence == "coin":
                assert arrays["draws"].shape == (N, DRAWS)
                np.testing.assert_array_equal(arrays["draws"][:, 0], arrays["classes"])
                black = arrays["draws"][(arrays["draws"] != y[:, None])]
                assert len(black) > 0.2 * arrays["draws"].size


def test_the_checklist_and_the_report_tell(ran):
    benchmark, *_ = ran
    items = json.loads((benchmark._store.folder / "checklist.json").read_text())
    found = {(each["defence"], each["item"]): each for each in items}
    item = found["coin", "the same image gets the same answer"]
    assert item["status"] == "failed"
    assert f"of the majority of {DRAWS}" in item["evidence"]
    page = benchmark.report().with_suffix(".md").read_text()
    for section in page.split("\n## ")[1:]:
        if "attacks, held-out" in section.splitlines()[0]:
            assert f"Random defences, asked {DRAWS} times" in section
            assert "coin, worst draw" in section
            assert "ss, worst draw" not in section


def test_another_number_of_draws_is_computed_anew(ran):
    benchmark, _, x, y, made = ran
    assert benchmark.plan(x, y)["cached"].all()
    other = made(benchmark._store.folder, draws=2)
    assert not other.plan(x, y)["cached"].any()
    with pytest.raises(ValueError, match="draws=0; give a whole number of at least 1"):
        made(benchmark._store.folder, draws=0)


def test_a_majority_is_more_than_any_other_class():
    drawn = np.array([[1, 1, 2], [1, 2, 3], [1, 1, 1], [2, 2, 1], [1, 2, 1]])
    y = np.array([1, 1, 1, 1, 2])
    assert wrong_by_majority(drawn, y).tolist() == [False, True, False, True, True]
    assert wrong_by_majority(drawn[:, :1], y).tolist() == [False, False, False, True, True]


def test_images_are_asked_again_only_where_answers_differ():
    asked = []

    def predict(x):
        asked.append(len(x))
        scores = np.eye(3)[np.zeros(len(x), int)]
        # One image of many is random.
        scores[-1] *= 1 + 0.1 * len(asked) * (len(x) < 100) * random
        return scores

    x = np.zeros((20, 1), np.float32)
    random = False
    assert answers(predict(x), x, predict, 4) is None
    assert asked == [20, 8, 8, 8, 8]
    assert answers(predict(x), x, predict, 1) is None
    random = True
    assert answers(predict(x), x, predict, 4).shape == (20, 4)
    assert answers(predict(x[:1]), x[:1], predict, 4).shape == (1, 4)


def test_rounding_otherwise_in_other_batches_is_not_random():
    def predict(x):
        # As a decision beside its boundary, which rounding turns over in a large batch.
        return np.eye(3)[np.full(len(x), int(len(x) > 8))]

    x = np.zeros((20, 1), np.float32)
    assert answers(predict(x), x, predict, 4) is None
