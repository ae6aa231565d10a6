"""Attacks that go through defences: averaged gradients, straight ones, targets, plain noise."""

import numpy as np
import pytest
import torch
from art.defences.preprocessor import SpatialSmoothing
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch, PreprocessorTensorFlowV2

from art_nip import attacks, zoo
from art_nip.attacks import (
    AutoProjectedGradientDescent,
    HopSkipJump,
    ProjectedGradientDescent,
    RandomNoise,
)
from art_nip.attacks.gradient_estimators import (
    averaged,
    straight_through,
    with_auxiliary,
    zero_where_there_is_none,
)
from art_nip.benchmark.execution.gradient_checks import inspect
from art_nip.benchmark.execution.protection import protected
from art_nip.defences import TotalVarianceMinimization
from art_nip.estimators.clones import defended
from art_nip.estimators.single_precision import single_precision
from art_nip.utils.arrays import to_numpy
from art_nip.utils.seeds import seeded
from art_nip.zoo.suppression import auxiliary_logits, suppressing_layers
from tests.helpers import make_classifier, on_device
from tests.models import SMALL_SHAPE, small


class Squaring(PreprocessorPyTorch):
    """A defence whose gradient is far from the identity."""

    def forward(self, x, y=None):
        return x**2, y


class SquaringTensorFlow(PreprocessorTensorFlowV2):
    def forward(self, x, y=None):
        return x**2, y


class Scaling(PreprocessorPyTorch):
    """A random defence: multiplies by 0 or 2."""

    def forward(self, x, y=None):
        return x * 2 * torch.randint(2, (len(x), 1, 1, 1), device=x.device), y


class Hiding(PreprocessorPyTorch):
    """A defence without any gradient."""

    def forward(self, x, y=None):
        return x.detach(), y


class HidingTensorFlow(PreprocessorTensorFlowV2):
    def forward(self, x, y=None):
        import tensorflow as tf

        return tf.stop_gradient(x), y


def to_tensor(x, framework):
    if framework == "pytorch":
        return on_device(x)
    import tensorflow as tf

    return tf.constant(x)


def targets(y, nb_classes=10):
    return np.eye(nb_classes, dtype=np.float32)[y]


@pytest.mark.parametrize(
    ("kind", "defence"), [("pytorch", Squaring), ("tensorflow", SquaringTensorFlow)]
)
def test_straight_gradients_are_those_at_the_defended_images(lenet, digits, kind, defence):
    classifier = make_classifier(kind, lenet[kind])
    x, y = digits["test"][0][:4], targets(digits["test"][1][:4])
    if kind == "tensorflow":
        x = np.moveaxis(x, 1, -1)
    through = defended(classifier, defence())
    straight = straight_through(through)
    np.testing.assert_array_equal(straight.predict(x), through.predict(x))
    there = classifier.loss_gradient(x**2, y)
    np.testing.assert_allclose(straight.loss_gradient(x, y), there, atol=1e-7)
    np.testing.assert_allclose(through.loss_gradient(x, y), 2 * x * there, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "defence"), [("pytorch", Hiding), ("tensorflow", HidingTensorFlow)]
)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_no_gradient_at_all_is_one_of_zero(lenet, digits, kind, defence, as_tensor):
    x, y = digits["test"][0][:4], targets(digits["test"][1][:4])
    x = x if kind == "pytorch" else np.moveaxis(x, 1, -1)
    hidden = defended(make_classifier(kind, lenet[kind]), defence())
    given = to_tensor(x, kind) if as_tensor else x
    with pytest.warns(UserWarning, match="gives the loss no gradient"):
        found = averaged(hidden, 2).loss_gradient(given, y)
    assert type(found) is type(given)
    np.testing.assert_array_equal(to_numpy(found), np.zeros_like(x))
    with pytest.warns(UserWarning, match="gives the loss no gradient"):
        assert inspect(protected(hidden), x)["nonzero"] == 0


def test_other_errors_of_a_gradient_stay(classifier, images):
    def failing(*_, **__):
        raise ValueError("mine")

    broken = zero_where_there_is_none(classifier)
    broken._apply_preprocessing = failing
    with pytest.raises(ValueError, match="mine"):
        broken.loss_gradient(images["test"][0][:1], targets(images["test"][1][:1]))


@pytest.fixture
def suppressing(framework, lenet):
    """LeNet-5 with channel-wise activation suppressing whose auxiliary weights say something."""
    shape = (1, 28, 28) if framework == "pytorch" else (28, 28, 1)
    model = zoo.create(
        "lenet5", framework=framework, input_shape=shape, nb_classes=10, defence="cas"
    )
    weights = {**zoo.get_weights(model), **zoo.get_weights(lenet[framework])}
    own = weights.keys() - zoo.get_weights(lenet[framework]).keys()
    rng = np.random.default_rng(0)
    drawn = {name: rng.normal(1, 0.3, weights[name].shape).astype(np.float32) for name in own}
    zoo.set_weights(model, {**weights, **drawn})
    return make_classifier(framework, model.eval() if framework == "pytorch" else model)


def test_auxiliary_gradients_are_those_of_both_losses(suppressing, framework, images):
    x, y = images["test"][0][:5], targets(images["test"][1][:5])
    both = with_auxiliary(suppressing, 2.0)
    np.testing.assert_array_equal(both.predict(x), suppressing.predict(x))
    alone = suppressing.loss_gradient(x, y)
    zero = with_auxiliary(suppressing, 0.0).loss_gradient(x, y)
    np.testing.assert_allclose(zero, alone, atol=1e-7)
    expected = alone + 2.0 * auxiliary_gradient(suppressing, framework, x, y)
    np.testing.assert_allclose(both.loss_gradient(x, y), expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected - alone).max() > 1e-3
    # And the classifier has its own loss back.
    np.testing.assert_allclose(suppressing.loss_gradient(x, y), alone, atol=1e-7)


def auxiliary_gradient(classifier, framework, x, y):
    """Return the gradient to the images of the mean cross-entropy of auxiliary logits."""
    layers = suppressing_layers(classifier.model)
    if framework == "pytorch":
        given = on_device(x, requires_grad=True)
        with auxiliary_logits(layers, None) as found:
            classifier.model(given)
        loss = torch.nn.functional.cross_entropy(found[0], on_device(y))
        return torch.autograd.grad(loss, given)[0].numpy(force=True)
    import tensorflow as tf

    given = tf.constant(x)
    with tf.GradientTape() as tape, auxiliary_logits(layers, None) as found:
        tape.watch(given)
        classifier.model(given)
        loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(y, found[0]))
    return tape.gradient(loss, given).numpy()


def test_an_attack_on_auxiliary_logits_needs_some(classifier):
    with pytest.raises(ValueError, match=r"activation suppressing, and this .* has none"):
        ProjectedGradientDescent(classifier, auxiliary=2.0)


def test_a_layer_called_auxiliary_suppresses_nothing():
    model = torch.nn.Sequential(torch.nn.Flatten())
    model[0].auxiliary = torch.nn.Linear(2, 2)
    assert suppressing_layers(model) == []
    assert suppressing_layers(lambda x: x) == []


def test_the_attack_on_auxiliary_logits_is_another(suppressing, images):
    x, y = images["test"][0][:8], images["test"][1][:8]
    settings = {"eps": 0.1, "eps_step": 0.02, "max_iter": 5, "verbose": False}
    plain, both = (
        ProjectedGradientDescent(suppressing, **settings, **more).generate(x, y)
        for more in ({}, {"auxiliary": 2.0})
    )
    assert np.abs(both - x).max() <= 0.1 + 1e-6
    assert not np.array_equal(plain, both)


def test_a_classifier_without_defences_is_straight_already(classifier, images):
    x, y = images["test"]
    straight = straight_through(classifier)
    one_hot = targets(y[:3])
    np.testing.assert_array_equal(
        straight.loss_gradient(x[:3], one_hot), classifier.loss_gradient(x[:3], one_hot)
    )


def test_gradients_of_random_defences_are_averaged(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    through = defended(classifier, Scaling())
    x, y = digits["test"][0][:6], targets(digits["test"][1][:6])
    with seeded(0):
        mean = averaged(through, 5).loss_gradient(x, y)
    # Of five draws, those by 2 have the gradient there, and those by 0 have none.
    one = 2 * classifier.loss_gradient(2 * x, y)
    shares = (mean * one).sum(axis=(1, 2, 3)) / (one**2).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(shares * 5, np.round(shares * 5), atol=1e-3)
    np.testing.assert_allclose(mean, shares[:, None, None, None] * one, atol=1e-6)
    assert len(np.unique(shares.round(3))) > 1


class Wakeful(PreprocessorPyTorch):
    """A defence that leaves nothing of its first images, and is random from then on."""

    awake = False

    def forward(self, x, y=None):
        return (x + torch.rand_like(x) if self.awake else 0 * x), y


def test_gradients_of_zero_do_not_end_the_averaging(lenet, digits):
    sleeping = Wakeful()
    through = averaged(defended(make_classifier("pytorch", lenet["pytorch"]), sleeping), 4)
    x, y = digits["test"][0][:3], targets(digits["test"][1][:3])
    for _ in range(3):
        assert not through.loss_gradient(x, y).any()
    sleeping.awake = True
    calls = []
    forward = sleeping.forward
    sleeping.forward = lambda x, y=None: (calls.append(1), forward(x, y))[1]
    through.loss_gradient(x, y)
    assert len(calls) == 4 + 2  # draws, and the two predictions that tell


def test_one_draw_is_enough_where_nothing_is_random(classifier, images):
    x, y = images["test"][0][:2], targets(images["test"][1][:2])
    calls = []

    class Counted(type(classifier)):
        def loss_gradient(self, *arguments, **keywords):
            calls.append(1)
            return super().loss_gradient(*arguments, **keywords)

    classifier.__class__ = Counted
    mean = averaged(classifier, 8)
    expected = classifier.loss_gradient(x, y)
    calls.clear()
    for _ in range(3):
        np.testing.assert_array_equal(mean.loss_gradient(x, y), expected)
    assert len(calls) == 3


def test_pgd_goes_through_a_random_defence(lenet, digits):
    x, y = digits["test"][0][:30], digits["test"][1][:30]
    tvm = TotalVarianceMinimization(channels_first=True, clip_values=(0, 1))
    through = defended(make_classifier("pytorch", lenet["pytorch"]), tvm)
    attack = ProjectedGradientDescent(
        through, eps=0.2, eps_step=0.05, max_iter=8, draws=4, straight=True, verbose=False
    )
    with seeded(0):
        adversarial = attack.generate(x, y)
        before = (through.predict(x).argmax(axis=1) == y).mean()
        after = (through.predict(adversarial).argmax(axis=1) == y).mean()
    assert np.abs(adversarial - x).max() <= 0.2 + 1e-6
    assert after < before - 0.3


@pytest.mark.parametrize("loss", ["cross_entropy", "difference_logits_ratio"])
@pytest.mark.parametrize("aims", [0, 2])
def test_apgd_breaks_what_it_may(classifier, images, loss, aims):
    x, y = images["test"][0][:20], images["test"][1][:20]
    through = defended(classifier, SpatialSmoothing(channels_first=classifier.channels_first))
    attack = AutoProjectedGradientDescent(
        through,
        eps=0.3,
        eps_step=0.3,
        max_iter=6,
        nb_random_init=1,
        loss_type=loss,
        targets=aims,
        verbose=False,
    )
    with seeded(0):
        adversarial = attack.generate(x, y)
    assert adversarial.dtype == np.float32
    assert np.abs(adversarial - x).max() <= 0.3 + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    right = through.predict(x).argmax(axis=1) == y
    left = through.predict(adversarial).argmax(axis=1) == y
    assert left.sum() <= right.sum() - 5
    if aims:
        # Each that is broken is of one of the classes it was led to.
        scores = through.predict(x)
        scores[np.arange(20), y] = -np.inf
        led_to = np.argsort(-scores, axis=1)[:, :aims]
        reached = through.predict(adversarial).argmax(axis=1)
        broken = right & ~left
        assert (led_to[broken] == reached[broken, None]).any(axis=1).mean() > 0.8
        np.testing.assert_array_equal(adversarial[right & left], x[right & left])


@pytest.mark.parametrize("loss", ["cross_entropy", "difference_logits_ratio"])
@pytest.mark.parametrize("aims", [0, 1])
def test_apgd_of_probabilities_is_that_of_their_logits(framework, loss, aims):
    logits = small(framework)
    if framework == "pytorch":
        probabilities = torch.nn.Sequential(logits, torch.nn.Softmax(1))
    else:
        import keras

        probabilities = keras.Sequential([*logits.layers, keras.layers.Softmax()])
    x = np.random.default_rng(0).random((12, *SMALL_SHAPE[framework]), np.float32)
    gradients, left = [], []
    for model in (logits, probabilities):
        shape = SMALL_SHAPE[framework]
        classifier = make_classifier(framework, model, shape, 4, clip_values=(-1, 1))
        y = classifier.predict(x).argmax(axis=1)
        named = attacks.get("apgd").create(
            classifier, eps=0.03, max_iter=4, nb_random_init=1, loss_type=loss, targets=aims
        )
        gradients.append(named.attack.estimator.loss_gradient(x, np.eye(4)[y]))
        with seeded(0):
            left.append((classifier.predict(named.generate(x, y)).argmax(axis=1) == y).mean())
    scale = np.abs(gradients[0]).max()
    np.testing.assert_allclose(*gradients, atol=1e-4 * scale)
    assert left[0] == pytest.approx(left[1], abs=0.1)
    assert max(left) < 0.5


def test_noise_is_of_its_size_and_kept_only_where_it_fools(classifier, images):
    x, y = images["test"][0][:40], images["test"][1][:40]
    attack = RandomNoise(classifier, eps=0.4, draws=10, seed=0, verbose=False)
    noisy = attack.generate(x, y)
    changed = (noisy != x).reshape(len(x), -1).any(axis=1)
    right = classifier.predict(x).argmax(axis=1) == y
    assert 0 < changed.sum() < 40
    assert (classifier.predict(noisy).argmax(axis=1)[changed] != y[changed]).all()
    assert not changed[~right].any()
    moved = np.abs(noisy - x)[changed]
    assert moved.max() <= 0.4 + 1e-6
    # Moved by ε, but for what the clip range cuts off.
    inside = (x[changed] > 0.4) & (x[changed] < 0.6)
    np.testing.assert_allclose(moved[inside], 0.4, atol=1e-6)
    np.testing.assert_array_equal(noisy, attack.generate(x, y))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [({"eps": -1}, "eps=-1"), ({"eps": np.nan}, "eps=nan"), ({"draws": 0}, "draws=0")],
)
def test_noise_refuses_what_it_cannot_do(classifier, parameters, message):
    with pytest.raises(ValueError, match=message):
        RandomNoise(classifier, **parameters)


def test_hopskipjump_leaves_what_fools_by_itself(lenet, digits):
    """As an image may that a random defence was kind to at first."""

    class Finite(PreprocessorPyTorch):
        def forward(self, x, y=None):
            assert torch.isfinite(x).all()
            return x, y

    through = single_precision(defended(make_classifier("pytorch", lenet["pytorch"]), Finite()))
    attack = HopSkipJump(through, norm=np.inf, max_iter=2, max_eval=20, init_eval=10, verbose=False)
    image = digits["test"][0][0]
    wrong = (through.predict(image[None]).argmax() + 1) % 10
    np.testing.assert_array_equal(attack._attack(image, image, wrong, None, 0.0, 1.0), image)


@pytest.mark.parametrize("believed", [0, 1, 30])
def test_hopskipjump_ends_where_an_example_is_taken_back(classifier, images, believed, monkeypatch):
    """Of examples that are asked about alone the first ones fool, and none later."""
    predict, image = classifier.predict, images["test"][0][0]
    own, fooling = int(predict(image[None]).argmax()), []

    def fickle(x, *args, **keywords):
        scores = np.zeros((len(x), 10), np.float32)
        fools = len(x) > 1 or len(fooling) < believed
        if fools and len(x) == 1:
            fooling.append(x[0])
        scores[:, (own + fools) % 10] = 1
        return scores

    monkeypatch.setattr(classifier, "predict", fickle)
    attack = HopSkipJump(
        classifier, norm=np.inf, max_iter=3, max_eval=20, init_eval=10, verbose=False
    )
    found = attack._attack(1 - image, image, own, None, 0.0, 1.0)
    np.testing.assert_array_equal(found, fooling[-1] if fooling else image)
