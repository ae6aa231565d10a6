"""Attacks of other libraries as ART attacks: in every range, through defences, counted, refused."""

import sys
from typing import Any

import foolbox
import numpy as np
import pytest
from art.defences.preprocessor import JpegCompression
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import BlackBoxClassifierNeuralNetwork, PyTorchClassifier

from art_nip.attacks import foreign
from art_nip.benchmark import Attack, Benchmark
from art_nip.benchmark.fingerprints import fingerprint
from art_nip.estimators.pass_counting import counting
from art_nip.utils.seeds import seeded
from tests.foreign_tools import adv_lib_attacks
from tests.helpers import make_classifier, to_framework

EPS, STEPS = 0.25, 5
LINF_PGD = foolbox.attacks.LinfPGD(steps=STEPS, abs_stepsize=0.08)


def by_foolbox(classifier: Any, **keywords: Any) -> foreign.ForeignAttack:
    return foreign.Foolbox(classifier, LINF_PGD, EPS, **keywords)


def by_adv_lib(classifier: Any, **keywords: Any) -> foreign.ForeignAttack:
    function = adv_lib_attacks().pgd_linf
    return foreign.AdvLib(
        classifier, function, EPS, steps=STEPS, absolute_step_size=0.08, **keywords
    )


def by_torchattacks(classifier: Any, **keywords: Any) -> foreign.ForeignAttack:
    torchattacks = pytest.importorskip(
        "torchattacks", reason="torchattacks pins an old requests: it is run by make test-tools"
    )
    return foreign.TorchAttacks(
        classifier, torchattacks.PGD, eps=EPS, alpha=0.08, steps=STEPS, **keywords
    )


def by_autoattack(classifier: Any, **keywords: Any) -> foreign.ForeignAttack:
    return foreign.AutoAttack(classifier, EPS, version="custom", attacks=["apgd-ce"], **keywords)


PGDS = [by_foolbox, by_adv_lib, by_torchattacks]


@pytest.fixture
def few(digits) -> tuple[np.ndarray, np.ndarray]:
    return tuple(part[:12] for part in digits["test"])


@pytest.fixture
def plain(lenet) -> PyTorchClassifier:
    return make_classifier("pytorch", lenet["pytorch"])


def right(classifier: Any, x: np.ndarray, y: np.ndarray) -> int:
    return int((classifier.predict(x).argmax(axis=1) == y).sum())


def check(attack: foreign.ForeignAttack, x: np.ndarray, y: np.ndarray, scale: float = 1) -> None:
    """Check that an attack fools its classifier within its budget, and the same for one seed."""
    with seeded(3):
        found = attack.generate(x, y)
    with seeded(3):
        np.testing.assert_array_equal(attack.generate(x, np.eye(10)[y]), found)
    assert found.dtype == np.float32
    low, high = attack.estimator.clip_values
    assert (found >= low).all()
    assert (found <= high).all()
    assert np.abs(found - x).max() <= scale * (attack.eps + 1e-5)
    assert right(attack.estimator, found, y) < right(attack.estimator, x, y) // 2


@pytest.mark.parametrize("make", PGDS)
def test_they_fool_classifiers_of_any_range(make, lenet, plain, few):
    x, y = few
    check(make(plain), x, y)
    wide = make_classifier(
        "pytorch", lenet["pytorch"], clip_values=(-255, 255), preprocessing=(-255, 510)
    )
    check(make(wide), (510 * x - 255).astype(np.float32), y, scale=510)


def test_autoattack_of_its_authors(plain, few):
    x, y = (part[:6] for part in few)
    attack = by_autoattack(plain)
    with seeded(3):
        found = attack.generate(x, y)
    assert np.abs(found - x).max() <= EPS + 1e-5
    assert right(plain, found, y) == 0
    with seeded(3):
        np.testing.assert_array_equal(attack.generate(x, y), found)


def sized(classifier: Any, **keywords: Any) -> foreign.AutoAttack:
    given = {"max_iter": 3, "max_queries": 20, "version": "auto", "seed": 0}
    return foreign.AutoAttack(classifier, EPS, **(given | keywords))


def test_autoattack_has_the_sizes_that_it_is_given(plain, few, monkeypatch):
    import pyautoattack

    met = {}

    def run(self, images, labels, batch_size):
        met.update(
            names=self.attacks_to_run,
            steps={self.apgd.n_iter, self.apgd_targeted.n_iter, self.fab.n_iter},
            queries=self.square.n_queries,
            targets={self.apgd_targeted.n_target_classes, self.fab.n_target_classes},
            norm=self.norm,
        )
        return images, labels

    monkeypatch.setattr(pyautoattack.AutoAttack, "run_standard_evaluation", run)
    standard = ["apgd-ce", "apgd-t", "fab-t", "square"]
    foreign.AutoAttack(plain, EPS).generate(*few)
    whole = {"names": standard, "steps": {100}, "queries": 5000, "targets": {9}, "norm": "Linf"}
    assert met == whole
    sized(plain, norm=2).generate(*few)
    assert met == whole | {"steps": {3}, "queries": 20, "norm": "L2"}


class Dimming(PreprocessorPyTorch):
    """A random defence."""

    def forward(self, x: Any, y: Any = None) -> Any:
        import torch

        return x * (0.7 + 0.3 * torch.rand(len(x), 1, 1, 1, device=x.device)), y


class Rounding(PreprocessorPyTorch):
    """A defence without a gradient."""

    def forward(self, x: Any, y: Any = None) -> Any:
        return x.round(), y


class Descending(PreprocessorPyTorch):
    """A defence that takes a gradient when it predicts."""

    def forward(self, x: Any, y: Any = None) -> Any:
        import torch

        with torch.enable_grad():
            given = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(given.square().sum(), given)
        return x - 0.01 * gradient, y


def test_autoattack_says_what_makes_it_doubtful(lenet, plain, few):
    def flags(defence: Any, **keywords: Any) -> tuple[str, ...]:
        classifier = make_classifier("pytorch", lenet["pytorch"], preprocessing_defences=defence)
        attack = sized(classifier, version="custom", attacks=["apgd-dlr"], **keywords)
        assert attack.flags == ()
        attack.generate(*few)
        return attack.flags

    assert flags(Dimming()) == ("the same image gets different answers",)
    assert flags(Descending()) == ("the defence takes gradients when it predicts",)
    # What one defence did is not counted for the next.
    assert flags(None) == ()
    assert flags(Rounding(), batch_size=5) == ("gradients are zero",)


def test_autoattack_takes_the_version_for_random_defences(lenet, plain, few, monkeypatch):
    import pyautoattack

    made = []
    constructor = pyautoattack.AutoAttack.__init__

    def remembering(self: Any, *given: Any, **keywords: Any) -> None:
        made.append(keywords["version"])
        constructor(self, *given, **keywords)

    monkeypatch.setattr(pyautoattack.AutoAttack, "__init__", remembering)
    random = make_classifier("pytorch", lenet["pytorch"], preprocessing_defences=Dimming())
    for classifier in (plain, random):
        found = sized(classifier).generate(*few)
        assert right(classifier, found, few[1]) < right(classifier, *few) / 2
    assert made == ["standard", "rand"]


def test_what_traces_the_process_goes_on(plain, few):
    def tracing(*_: Any) -> None:
        pass

    before = sys.gettrace()
    sys.settrace(tracing)
    try:
        by_autoattack(plain).generate(*few)
        assert sys.gettrace() is tracing
    finally:
        sys.settrace(before)


def test_ranges_of_each_channel():
    from torch import nn

    low, high = np.float32([[[0]], [[-4]]]), np.float32([[[1]], [[6]]])
    model = nn.Sequential(nn.Flatten(), nn.Linear(8, 10))
    classifier = make_classifier("pytorch", model, (2, 2, 2), clip_values=(low, high))
    unit = np.random.default_rng(0).random((20, 2, 2, 2), np.float32)
    x = low + unit * (high - low)
    found = by_foolbox(classifier).generate(x)
    moved = np.abs(found - x) / (high - low)
    assert moved.max() <= EPS + 1e-5
    assert (moved.max(axis=(0, 2, 3)) > 0.9 * EPS).all()


def test_what_is_not_moved_comes_back_to_the_last_bit(lenet, few):
    x = (510 * few[0] - 255.3).clip(-255, 255).astype(np.float32)
    classifier = make_classifier(
        "pytorch", lenet["pytorch"], clip_values=(-255, 255), preprocessing=(-255, 510)
    )
    wrong = (classifier.predict(x).argmax(axis=1) + 1) % 10
    # It leaves images alone that are wrong already.
    attack = foreign.Foolbox(classifier, foolbox.attacks.L2DeepFoolAttack(steps=2))
    np.testing.assert_array_equal(attack.generate(x, wrong), x)


@pytest.mark.parametrize("make", PGDS)
def test_what_they_ask_of_the_model_is_counted(make, plain, few):
    attack = make(plain, batch_size=5)
    with counting(plain) as passes:
        attack.generate(*few)
    assert passes is not None
    # Foolbox asks once more, whether it has succeeded.
    assert passes.forward == (STEPS + (make is by_foolbox)) * len(few[0])
    assert passes.backward == STEPS * len(few[0])


def test_classes_that_are_not_given_are_those_predicted(plain, few):
    x, _ = few
    predicted = plain.predict(x).argmax(axis=1)
    attack = foreign.Foolbox(plain, foolbox.attacks.LinfBasicIterativeAttack(steps=3), EPS)
    results = [attack.generate(x, labels) for labels in (None, predicted)]
    np.testing.assert_array_equal(*results)
    assert by_foolbox(plain).generate(x[:0]).shape == (0, 1, 28, 28)


def test_foolbox_on_tensorflow_through_nip(lenet, fitted_nips, few):
    nip = fitted_nips["tensorflow"]
    defended = nip.attach(make_classifier("tensorflow", lenet["tensorflow"]))
    check(by_foolbox(defended), to_framework(few[0], "tensorflow"), few[1])


def test_defences_for_numpy_are_gone_through_if_asked(lenet, few):
    jpeg = JpegCompression(clip_values=(0, 1), quality=50, channels_first=True)
    classifier = make_classifier("pytorch", lenet["pytorch"], preprocessing_defences=jpeg)
    with pytest.raises(ValueError, match=r"JpegCompression.*straight_through=True"):
        by_foolbox(classifier).generate(*few)
    check(by_foolbox(classifier, straight_through=True), *few)


def test_the_benchmark_takes_them_through_each_defence(tmp_path, plain, digits):
    x, y = (part[:20] for part in digits["test"])
    bank = tuple(part[:60] for part in digits["bank"])
    minimal = foreign.Foolbox(plain, foolbox.attacks.L2DeepFoolAttack(steps=5))
    given = [
        by_foolbox(plain),
        Attack(minimal, "deepfool of Foolbox", limit=8),
        by_adv_lib(plain),
    ]
    benchmark = Benchmark(
        plain,
        given,
        ["nip"],
        threats=["oblivious", "adaptive"],
        store=tmp_path,
        verbose=False,
    )
    table = benchmark.run(x, y, bank=bank)
    cells = ["attack", "defence", "threat"]
    accuracy = table[table.metric == "accuracy"].set_index(cells).value
    assert accuracy["Foolbox", "none", "oblivious"] < 0.5
    assert accuracy["Foolbox", "nip", "adaptive"] < 0.5
    assert accuracy["deepfool of Foolbox", "none", "oblivious"] < accuracy["benign"].max()
    passes = table[table.metric == "forward_passes"].set_index(cells).value
    assert passes["Foolbox", "none", "oblivious"] == STEPS + 1
    # NIP's own look at the neurons is a pass too.
    assert passes["Foolbox", "nip", "adaptive"] == 2 * (STEPS + 1)
    assert passes["AdvLib", "nip", "adaptive"] == 2 * STEPS
    sizes = table[(table.metric == "linf") & (table.attack == "Foolbox")].value
    assert (sizes <= EPS + 1e-5).all()


def test_each_parameter_has_a_fingerprint(plain):
    attacks = adv_lib_attacks()
    given = [
        by_foolbox(plain),
        foreign.Foolbox(plain, LINF_PGD, 0.1),
        foreign.Foolbox(plain, foolbox.attacks.LinfPGD(steps=STEPS + 1, abs_stepsize=0.08), EPS),
        foreign.Foolbox(plain, foolbox.attacks.L2PGD(steps=STEPS, abs_stepsize=0.08), EPS),
        by_adv_lib(plain),
        foreign.AdvLib(plain, attacks.pgd_linf, EPS, steps=STEPS),
        foreign.AdvLib(plain, attacks.ddn, steps=STEPS),
        by_autoattack(plain),
        foreign.AutoAttack(plain, EPS),
    ]
    prints = [fingerprint(attack) for attack in given]
    assert len(set(prints)) == len(given)
    assert prints[0] == fingerprint(by_foolbox(plain))
    assert prints[4] == fingerprint(by_adv_lib(plain))


def test_what_is_no_attack_of_the_library_is_refused(plain, lenet):
    with pytest.raises(TypeError, match="no attack of Foolbox"):
        foreign.Foolbox(plain, foolbox.attacks.LinfPGD, EPS)
    with pytest.raises(ValueError, match="LinfProjectedGradientDescentAttack needs eps"):
        foreign.Foolbox(plain, LINF_PGD)
    with pytest.raises(ValueError, match="eps=-1"):
        foreign.Foolbox(plain, LINF_PGD, -1)
    attacks = adv_lib_attacks()
    with pytest.raises(TypeError, match="no attack of adv-lib"):
        foreign.AdvLib(plain, print)
    with pytest.raises(ValueError, match="pgd_linf needs eps"):
        foreign.AdvLib(plain, attacks.pgd_linf)
    with pytest.raises(ValueError, match="ddn looks for the smallest"):
        foreign.AdvLib(plain, attacks.ddn, EPS)
    with pytest.raises(ValueError, match=r"takes no 'stepz' here; it takes steps"):
        foreign.AdvLib(plain, attacks.pgd_linf, EPS, stepz=3)
    with pytest.raises(ValueError, match="takes no 'targeted'"):
        foreign.AdvLib(plain, attacks.pgd_linf, EPS, targeted=True)
    with pytest.raises(TypeError, match="no class of torchattacks"):
        foreign.TorchAttacks(plain, "PGD")
    with pytest.raises(ValueError, match="batch_size=0"):
        foreign.Foolbox(plain, LINF_PGD, EPS, batch_size=0)
    tensorflow = make_classifier("tensorflow", lenet["tensorflow"])
    with pytest.raises(TypeError, match="AutoAttack attacks models of PyTorch, and this is a Tens"):
        foreign.AutoAttack(tensorflow, EPS)
    boundless = make_classifier("pytorch", lenet["pytorch"], clip_values=None)
    with pytest.raises(ValueError, match="no clip_values"):
        foreign.Foolbox(boundless, LINF_PGD, EPS)
    oracle = BlackBoxClassifierNeuralNetwork(plain.predict, (1, 28, 28), 10, clip_values=(0, 1))
    with pytest.raises(TypeError, match="BlackBoxClassifierNeuralNetwork is not one"):
        foreign.Foolbox(oracle, LINF_PGD, EPS)


def test_what_autoattack_cannot_do_is_refused(plain):
    from torch import nn

    for keywords, message in (
        ({"norm": "l2"}, "norm of AutoAttack"),
        ({"version": "fast"}, "version of AutoAttack"),
        ({"version": "custom"}, "name the attacks"),
        ({"attacks": ["fab"]}, "name the attacks"),
        ({"version": "custom", "attacks": ["pgd"]}, "attack of AutoAttack"),
        ({"seed": -1}, "seed=-1"),
    ):
        with pytest.raises(ValueError, match=message):
            foreign.AutoAttack(plain, EPS, **keywords)
    two = make_classifier("pytorch", nn.Sequential(nn.Flatten(), nn.Linear(784, 2)), nb_classes=2)
    with pytest.raises(ValueError, match="apgd-t needs 4 classes, and the classifier has 2"):
        foreign.AutoAttack(two, EPS)
    assert foreign.AutoAttack(two, EPS, version="custom", attacks=["apgd-ce"]).attacks
    with pytest.raises(TypeError, match="x and y only"):
        by_foolbox(plain).generate(np.zeros((1, 1, 28, 28), np.float32), mask=None)


def test_targets_are_no_more_than_there_are_classes():
    from torch import nn

    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4))
    classifier = make_classifier("pytorch", model, (1, 4, 4), nb_classes=4)
    x = np.random.default_rng(0).random((5, 1, 4, 4), np.float32)
    names = ["apgd-t", "fab-t"]
    attack = foreign.AutoAttack(classifier, 0.5, version="custom", attacks=names)
    found = attack.generate(x)
    assert right(classifier, found, classifier.predict(x).argmax(axis=1)) < 5
