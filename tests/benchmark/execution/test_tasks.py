"""What tasks hand out is nobody else's: arrays that are written to, defences that have a state."""

import numpy as np
import pytest
import torch
from art.attacks.attack import EvasionAttack
from art.defences.preprocessor.preprocessor import Preprocessor
from art.estimators.classification import BlackBoxClassifier, PyTorchClassifier

from art_nip.attacks import NamedAttack
from art_nip.benchmark import Attack, Benchmark
from art_nip.benchmark.execution import tasks
from art_nip.benchmark.execution.workbench import Workbench
from art_nip.estimators.pass_counting import counting
from tests.helpers import make_classifier
from tests.nip.helpers import fitted


class WritingAttack(EvasionAttack):
    """Changes the images that it is given, and the labels."""

    attack_params = EvasionAttack.attack_params
    _estimator_requirements = ()

    def __init__(self, estimator):
        super().__init__(estimator=estimator)

    def generate(self, x, y=None, **kwargs):
        x[:] = 1 - x
        y[:] = 0
        return x


class WritingDefence(Preprocessor):
    """Changes the images that it is given, and those that it learns from."""

    params = ()

    def __init__(self):
        super().__init__(is_fitted=True)

    def __call__(self, x, y=None):
        x[:] = 0.5
        return x, y


class WritingLearner(WritingDefence):
    def fit(self, x, y=None, **kwargs):
        x[:], y[:] = 0, 0


def measured(classifier, attacks, defences, data, folder):
    """Return the figures by attack, defence and metric, all but times."""
    table = Benchmark(classifier, attacks, defences, store=folder, verbose=False).run(*data)
    assert set(table.error) == {""}
    return {
        (row.attack, row.defence, row.metric): row.value
        for row in table.itertuples()
        if row.metric != "seconds_per_image"
    }


@pytest.fixture
def data(images):
    (x, y), (others, classes) = images["test"], images["bank"]
    return x[:12].copy(), y[:12].copy(), (others[:20].copy(), classes[:20].copy())


def test_what_writes_to_its_input_changes_no_other_cell(classifier, data, tmp_path):
    before = [data[0].copy(), data[1].copy(), data[2][0].copy(), data[2][1].copy()]
    clean = measured(classifier, ["fgsm"], ["ss"], data, tmp_path / "clean")
    attacks = [WritingAttack(classifier), "fgsm"]
    defences = {"writes": WritingDefence(), "learns": WritingLearner(), "ss": "ss"}
    found = measured(classifier, attacks, defences, data, tmp_path / "writing")
    assert {key: found[key] for key in clean} == pytest.approx(clean, nan_ok=True)
    for kept, now in zip(before, (data[0], data[1], *data[2]), strict=True):
        assert np.array_equal(kept, now)
    inverted = (classifier.predict(1 - before[0]).argmax(1) == before[1]).mean()
    assert found["WritingAttack", "none", "accuracy"] == inverted


def test_a_model_that_writes_to_its_input_changes_no_other_cell(
    lenet, digits, tmp_path, monkeypatch
):
    # Seeds depend on the model's fingerprint, and the two models have different ones.
    monkeypatch.setattr(tasks, "seed_of", lambda key: 0)

    class Writing(torch.nn.Module):
        def __init__(self, in_place):
            super().__init__()
            self.inner, self.in_place = lenet["pytorch"], in_place

        def forward(self, x):
            dimmed = x.mul_(0.7) if self.in_place else x * 0.7
            return self.inner(dimmed)

    (x, y), given = digits["test"], []
    for in_place in (False, True):
        model = Writing(in_place).eval()
        classifier = PyTorchClassifier(
            model, torch.nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0.0, 1.0),
            device_type="cpu",
        )  # fmt: skip
        images = x[:12].copy()
        attacks = ["fgsm", Attack("pgd", parameters={"max_iter": 2}), Attack("square", limit=2)]
        given.append(
            measured(classifier, attacks, ["ss"], (images, y[:12]), tmp_path / str(in_place))
        )
        assert np.array_equal(images, x[:12])
    assert given[0] == pytest.approx(given[1], nan_ok=True)


def test_a_black_box_that_writes_to_its_input(digits, tmp_path):
    def scores(x):
        x[:] = x.mean(axis=(1, 2, 3), keepdims=True)
        return np.eye(10, dtype=np.float32)[np.minimum(9, (40 * x[:, 0, 0, 0]).astype(int))]

    x, y = digits["test"]
    images = x[:8].copy()
    classifier = BlackBoxClassifier(scores, (1, 28, 28), 10, clip_values=(0, 1))
    found = measured(classifier, ["auna"], ["ss"], (images, y[:8]), tmp_path)
    assert np.array_equal(images, x[:8])
    assert found["benign", "none", "accuracy"] == (scores(x[:8].copy()).argmax(1) == y[:8]).mean()


class CountingDefence(Preprocessor):
    """Darkens more with every call: its state is what it has seen."""

    params = ()

    def __init__(self):
        super().__init__(is_fitted=True)
        self.calls = 0

    def __call__(self, x, y=None):
        self.calls += 1
        return x * 0.98**self.calls, y

    def estimate_gradient(self, x, grad):
        return grad


class CountingLearner(CountingDefence):
    def fit(self, x, y=None, **kwargs):
        self.calls = len(x)


@pytest.mark.parametrize("defence", [CountingDefence(), CountingLearner()])
def test_saying_how_long_it_takes_changes_no_example(
    defence, classifier, data, tmp_path, monkeypatch
):
    tried = []
    create = NamedAttack.create

    def counted(self, estimator, **parameters):
        tried.append(self.name)
        return create(self, estimator, **parameters)

    monkeypatch.setattr(NamedAttack, "create", counted)
    tables, attacks = [], []
    for verbose in (False, True):
        benchmark = Benchmark(
            classifier, [Attack("pgd", limit=6)], [defence], store=tmp_path / str(verbose),
            threats=["adaptive"], verbose=verbose,
        )  # fmt: skip
        tried.clear()
        table = benchmark.run(*data)
        attacks.append(len(tried))
        assert set(table.error) == {""}
        tables.append(table[table.metric.isin(["accuracy", "l2", "psnr"])].drop(columns="seconds"))
    assert attacks[1] > attacks[0]
    assert tables[0].equals(tables[1])


def test_a_fitted_defence_with_a_state_is_anew_for_each_task(classifier, data, tmp_path):
    """The attack that comes first does not change what is said of the second."""
    weak = Attack("fgsm", "weak", {"eps": 0.1})
    alone = measured(classifier, [weak], [CountingLearner()], data, tmp_path / "alone")
    both = measured(classifier, ["fgsm", weak], [CountingLearner()], data, tmp_path / "both")
    assert {key: both[key] for key in alone} == pytest.approx(alone, nan_ok=True)


def test_class_retrieval_shares_its_pass_with_predictions(classifier, images):
    """As it does once it is attached: attacks on it then ask the model as often as a user does."""
    nip = fitted(classifier, *(part[:150] for part in images["bank"]), "class")
    shared, attached = Workbench(classifier, "key").behind(nip), nip.attach(classifier)
    x = images["test"][0][:40]
    with counting(shared) as passes:
        found = shared.predict(x)
    with counting(attached) as wanted:
        expected = attached.predict(x)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert vars(passes) == vars(wanted)


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"])
def test_distances_are_in_units_of_the_range(framework, lenet, images, tmp_path):
    (x, y), (others, classes) = images["test"], images["bank"]
    tables = []
    for scale in (1, 255):
        classifier = make_classifier(
            framework, lenet[framework], clip_values=(0, scale), preprocessing=(0, scale)
        )
        data = scale * x[:12], y[:12], (scale * others[:20], classes[:20])
        tables.append(measured(classifier, ["fgsm"], [], data, tmp_path / f"{framework}-{scale}"))
    for norm, expected in (("linf", 8 / 255), ("l2", tables[0]["fgsm", "none", "l2"])):
        for table in tables:
            assert table["fgsm", "none", norm] == pytest.approx(expected, rel=1e-3)
