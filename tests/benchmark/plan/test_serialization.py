"""Classifiers, attacks and defences on their way to other processes and other classifiers."""

import subprocess
import sys
import threading
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import (
    AutoAttack,
    AutoProjectedGradientDescent,
    BasicIterativeMethod,
    FastGradientMethod,
    MomentumIterativeMethod,
    ProjectedGradientDescent,
    SquareAttack,
    UniversalPerturbation,
)
from art.defences.preprocessor import JpegCompression

from art_nip import NIPPreprocessor, attacks, zoo
from art_nip.benchmark.fingerprints import fingerprint
from art_nip.benchmark.plan.serialization import Detached, alike, packed, unpacked
from art_nip.estimators.single_precision import SinglePrecision, single_precision
from art_nip.utils.seeds import seeded
from tests.helpers import make_classifier, to_framework


@pytest.fixture(autouse=True)
def art_folder(monkeypatch, tmp_path):
    """Where ART's own pickling would leave files; nothing here may."""
    monkeypatch.setattr("art.config.ART_DATA_PATH", str(tmp_path))
    yield tmp_path
    assert not list(Path(tmp_path).iterdir())


@pytest.fixture
def other(framework, lenet):
    """A classifier of another model, with the signs of its last weights turned."""
    shape = (1, 28, 28) if framework == "pytorch" else (28, 28, 1)
    model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=10)
    weights = zoo.get_weights(lenet[framework])
    last = list(weights)[-2]
    zoo.set_weights(model, {**weights, last: -weights[last]})
    return make_classifier(framework, model)


@pytest.fixture
def x(images):
    return images["test"][0][:6]


@pytest.fixture
def y(images):
    return images["test"][1][:6]


class Shift(EvasionAttack):
    """An attack of the user's own."""

    attack_params = (*EvasionAttack.attack_params, "by")
    _estimator_requirements = ()

    def __init__(self, estimator, by):
        super().__init__(estimator=estimator)
        self.by = by

    def generate(self, x, y=None, **kwargs):
        step = np.sign(self.estimator.loss_gradient(x, np.eye(10)[y]))
        return np.clip(x + self.by * step, 0, 1).astype(np.float32)


SIZES = {"eps": 0.2, "eps_step": 0.05, "max_iter": 4, "verbose": False}
ATTACKS = {
    "fgsm": lambda c: FastGradientMethod(c, eps=0.2),
    "pgd": lambda c: ProjectedGradientDescent(c, **SIZES),
    "random pgd": lambda c: ProjectedGradientDescent(c, **SIZES, num_random_init=2),
    "bim": lambda c: BasicIterativeMethod(c, **SIZES),
    "uap": lambda c: UniversalPerturbation(
        c, "fgsm", {"eps": 0.2}, eps=0.3, max_iter=1, verbose=False
    ),
    "square": lambda c: SquareAttack(c, eps=0.2, max_iter=20, verbose=False),
    "apgd": lambda c: AutoProjectedGradientDescent(
        c, **SIZES, nb_random_init=1, loss_type="cross_entropy"
    ),
    "autoattack": lambda c: AutoAttack(
        c,
        eps=0.2,
        attacks=[
            AutoProjectedGradientDescent(
                c, **SIZES, nb_random_init=1, loss_type="difference_logits_ratio"
            )
        ],
    ),
    "own": lambda c: Shift(c, 0.1),
    "named": lambda c: attacks.get("pgd").create(c),
    "eot": lambda c: attacks.get("eot").create(c, max_iter=4, draws=2),
    "bpda": lambda c: attacks.get("bpda").create(c, max_iter=4),
    "targeted apgd": lambda c: attacks.get("apgd").create(c, eps=0.3, max_iter=4, targets=2),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_works_on_another_classifier_as_if_made_for_it(name, classifier, other, x, y):
    attack = ATTACKS[name](classifier)
    bound = Detached(attack, classifier).bind(other)
    assert type(bound) is type(attack)
    if name not in ("own", "autoattack"):  # which count their classifier
        assert fingerprint(bound) == fingerprint(attack)
    with seeded(1):
        found = bound.generate(x, y)
    with seeded(1):
        expected = ATTACKS[name](other).generate(x, y)
    assert np.array_equal(found, expected)
    with seeded(1):
        assert not np.array_equal(attack.generate(x, y), expected)


@pytest.mark.parametrize("name", ["pgd", "bim", "uap", "apgd", "autoattack", "own"])
def test_an_attack_goes_through_the_defence_of_what_it_is_bound_to(name, nip, classifier, x, y):
    """ART chooses the parts of some by the classifier, and these would go on without it."""
    defended = nip.attach(classifier)
    bound = Detached(ATTACKS[name](classifier), classifier).bind(defended)
    with seeded(1):
        found = bound.generate(x, y)
    with seeded(1):
        assert np.array_equal(found, ATTACKS[name](defended).generate(x, y))
    with seeded(1):
        assert not np.array_equal(found, ATTACKS[name](classifier).generate(x, y))


def test_pgd_goes_through_numpy_defences_too(framework, classifier, lenet, x, y):
    """For these ART has another class of PGD than for defences of the framework."""
    jpeg = JpegCompression((0, 1), quality=10, channels_first=framework == "pytorch")
    defended = make_classifier(framework, lenet[framework], preprocessing_defences=jpeg)
    attack = ProjectedGradientDescent(classifier, **SIZES)
    found = Detached(attack, classifier).bind(defended).generate(x, y)
    assert np.array_equal(found, ProjectedGradientDescent(defended, **SIZES).generate(x, y))


def test_binding_leaves_the_attack_as_it_was(classifier, other, x):
    attack = ProjectedGradientDescent(classifier, **SIZES)
    before = attack.generate(x)
    bound = Detached(attack, classifier).bind(other)
    assert attack.estimator is attack._attack.estimator is classifier
    assert bound.estimator is bound._attack.estimator is other
    assert np.array_equal(attack.generate(x), before)


def test_all_of_a_momentum_attack_arrives(classifier, other):
    attack = MomentumIterativeMethod(classifier, decay=0.3, eps=0.2, max_iter=7, norm=1)
    bound = Detached(attack, classifier).bind(other)
    assert (bound._attack.decay, bound.eps, bound.max_iter, bound.norm) == (0.3, 0.2, 7, 1)


def test_a_twin_of_single_precision_counts_as_the_classifier(framework, lenet, classifier, other):
    """Named attacks make one for themselves, so an attack may hold one."""
    twin = single_precision(classifier)
    assert Detached(Shift(twin, 0.1), classifier).bind(other).estimator is other
    bound = Detached(ATTACKS["apgd"](classifier), classifier).bind(single_precision(other))
    assert isinstance(bound.estimator, SinglePrecision)
    assert alike(classifier, twin)
    assert alike(make_classifier(framework, lenet[framework]), classifier) is False
    assert not alike(classifier, other)


def test_a_nip_is_bound_to_another_model(classifier, other, images, x):
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False, k1=3)
    nip.fit(images["bank"][0][:40])
    before = nip(x)[0]
    bound = Detached(nip, classifier).bind(other)
    assert (bound.k1, bound._adapter.model is other.model) == (3, True)
    bound.fit(images["bank"][0][:40])
    expected = NIPPreprocessor.for_estimator(other, verbose=False, k1=3)
    expected.fit(images["bank"][0][:40])
    assert np.array_equal(bound(x)[0], expected(x)[0])
    assert np.array_equal(nip(x)[0], before)
    assert not np.array_equal(bound(x)[0], before)


def test_numpy_defences_travel_too(classifier, other, framework, x):
    jpeg = JpegCompression((0, 1), quality=10, channels_first=framework == "pytorch")
    bound = Detached(jpeg, classifier).bind(other)
    assert bound is not jpeg
    assert np.array_equal(bound(x)[0], jpeg(x)[0])


@pytest.mark.parametrize("name", ["pgd", "autoattack", "own"])
def test_what_is_detached_can_be_pickled(name, classifier, other, x, y):
    """The bytes have none of the classifier in them."""
    detached = Detached(ATTACKS[name](classifier), classifier)
    payload = cloudpickle.dumps(detached)
    assert len(payload) < 4000
    with seeded(1):
        found = cloudpickle.loads(payload).bind(other).generate(x, y)
    with seeded(1):
        assert np.array_equal(found, detached.bind(other).generate(x, y))


# Classifiers


@pytest.mark.parametrize("preprocessing", [(0, 1), (0.1, 0.5)])
def test_a_classifier_arrives_as_it_was(framework, lenet, x, y, preprocessing):
    classifier = make_classifier(framework, lenet[framework], preprocessing=preprocessing)
    arrived = unpacked(packed(classifier))
    assert type(arrived) is type(classifier)
    assert arrived.model is not classifier.model
    assert fingerprint(arrived) == fingerprint(classifier)
    np.testing.assert_allclose(arrived.predict(x), classifier.predict(x), atol=1e-6)
    labels = np.eye(10)[y]
    np.testing.assert_allclose(
        arrived.loss_gradient(x, labels), classifier.loss_gradient(x, labels), atol=1e-6
    )


def test_a_defended_classifier_arrives_defended(nip, classifier, x):
    defended = nip.attach(classifier)
    arrived = unpacked(packed(defended))
    arrived_nip = arrived.preprocessing_defences[0]
    assert arrived_nip._adapter.model is arrived.model
    np.testing.assert_allclose(arrived.predict(x), defended.predict(x), atol=1e-5)
    assert not np.allclose(arrived.predict(x), classifier.predict(x))


def test_what_only_training_needs_stays_behind(framework, lenet):
    if framework == "pytorch":
        import torch

        optimizer = torch.optim.Adam(lenet[framework].parameters())
    else:
        import keras

        optimizer = keras.optimizers.Adam()
    classifier = make_classifier(framework, lenet[framework], optimizer=optimizer)
    arrived = unpacked(packed(classifier))
    assert getattr(arrived, "optimizer", None) is None
    assert classifier.optimizer is optimizer


def test_keras_classifiers_arrive(lenet, digits):
    import keras
    from art.estimators.classification import KerasClassifier

    model = keras.models.clone_model(lenet["tensorflow"])
    model.set_weights(lenet["tensorflow"].get_weights())
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, optimizer="sgd")
    classifier = KerasClassifier(model, use_logits=True, clip_values=(0, 1))
    arrived = unpacked(packed(classifier))
    x = to_framework(digits["test"][0][:6], "tensorflow")
    np.testing.assert_allclose(arrived.predict(x), classifier.predict(x), atol=1e-6)
    assert fingerprint(arrived) == fingerprint(classifier)


def test_layers_of_the_zoo_arrive_in_a_process_that_has_not_met_them(digits, tmp_path):
    pytest.importorskip("tensorflow")
    model = zoo.create(
        "lenet5",
        framework="tensorflow",
        input_shape=(28, 28, 1),
        nb_classes=10,
        defence="cas",
    )
    classifier = make_classifier("tensorflow", model)
    x = to_framework(digits["test"][0][:3], "tensorflow")
    (tmp_path / "payload").write_bytes(packed(classifier))
    np.save(tmp_path / "x.npy", x)
    code = (
        "import sys, numpy as np; from pathlib import Path; folder = Path(sys.argv[1]); "
        "from art_nip.benchmark.plan.serialization import unpacked; "
        "classifier = unpacked((folder / 'payload').read_bytes()); "
        "np.save(folder / 'scores.npy', classifier.predict(np.load(folder / 'x.npy')))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), classifier.predict(x), atol=1e-5)
    for file in tmp_path.iterdir():
        file.unlink()


def test_black_boxes_arrive(digits):
    from art.estimators.classification import BlackBoxClassifier

    label = 3
    classifier = BlackBoxClassifier(
        lambda x: np.eye(10)[np.full(len(x), label)], (1, 28, 28), 10, clip_values=(0, 1)
    )
    arrived = unpacked(packed(classifier))
    assert (arrived.predict(digits["test"][0][:2]).argmax(1) == 3).all()


def test_what_cannot_be_pickled_says_what_to_do(digits):
    from torch import nn

    class Locked(nn.Linear):
        def __init__(self):
            super().__init__(4, 2)
            self.lock = threading.Lock()

    classifier = make_classifier("pytorch", Locked(), (4,), 2)
    with pytest.raises(TypeError, match=r"PyTorchClassifier cannot be sent.*lock.*jobs=1"):
        packed(classifier)
