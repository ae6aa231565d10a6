"""Surrogate losses that users offer themselves, and who offers any."""

import numpy as np
import pytest
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch, PreprocessorTensorFlowV2
from art.estimators.classification import BlackBoxClassifier

from art_nip import NIPPreprocessor, attacks, zoo
from art_nip.attacks.stand_ins import loss_of, standing_in
from art_nip.attacks.steering import SteeringAttack
from art_nip.attacks.surrogates import led_by, offers, surrogate_losses
from art_nip.estimators.clones import defended
from art_nip.utils.arrays import namespace
from art_nip.utils.surrogates import SurrogateLoss
from tests.helpers import make_classifier, to_framework
from tests.models import small

EPS = 0.15
SETTINGS = {"eps": EPS, "eps_step": 0.08, "max_iter": 10, "targets": 2, "seed": 0}


class Hiding(PreprocessorPyTorch):
    """A defence that changes nothing and hides all gradients."""

    def forward(self, x, y=None):
        return x.detach() + 0 * x, y


class Told(Hiding):
    """The same, by someone who says how to get past it."""

    def surrogate_losses(self, x, y, targets, classifier):
        bare = loss_of(standing_in(classifier, self, None), x, targets)
        nothing = SurrogateLoss(bare.scores, lambda: np.full(x.shape, np.nan, np.float32))
        return [nothing, bare]


def accuracy(classifier, x, y):
    return (classifier.predict(x).argmax(axis=1) == y).mean()


def test_the_suites_attack_follows_what_users_offer(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = (part[:16] for part in digits["test"])
    hidden, told = (defended(classifier, each) for each in (Hiding(), Told()))
    blind = attacks.get("eot").create(hidden, eps=EPS, eps_step=0.02, max_iter=10)
    assert accuracy(hidden, blind.generate(x, y), y) > 0.7
    adversarial = attacks.get("steering").create(told, **SETTINGS).generate(x, y)
    # A loss whose gradient is NaN spoils no image.
    assert np.isfinite(adversarial).all()
    assert accuracy(told, adversarial, y) < 0.4


def test_one_that_writes_to_what_it_is_given_misleads_no_other(lenet, digits):
    class Writing(Told):
        def surrogate_losses(self, x, y, targets, classifier):
            losses = super().surrogate_losses(x.copy(), y, targets.copy(), classifier)
            x[:], y[:], targets[:] = 0, 0, 0
            return losses

    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = (part[:8] for part in digits["test"])
    honest, writing = (
        attacks.get("steering").create(defended(classifier, each), **SETTINGS).generate(x, y)
        for each in (Told(), Writing())
    )
    assert np.array_equal(honest, writing)


def test_parts_are_followed_alone_together_and_in_turn(lenet, digits, monkeypatch):
    classifier = defended(make_classifier("pytorch", lenet["pytorch"]), Told())
    x, y = (part[:4] for part in digits["test"])
    ways = []
    steered = SteeringAttack._steered

    def watched(self, start, x, labels, classes, way):
        ways.append(way)
        return steered(self, start, x, labels, classes, way)

    monkeypatch.setattr(SteeringAttack, "_steered", watched)
    settings = {**SETTINGS, "eps": 1e-4, "targets": 1, "max_iter": 2, "verbose": False}
    SteeringAttack(classifier, **settings).generate(x, y)
    assert ways == [[[0]], [[1]], [[0, 1]], [[0], [1]]]


def test_a_classifier_may_offer_them_itself(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    assert offers(classifier) == []

    class Offering(type(classifier)):
        def surrogate_losses(self, x, y, targets, classifier):
            return [loss_of(classifier, x, targets)]

    classifier.__class__ = Offering
    assert offers(classifier) == [classifier]
    x, y = digits["test"][0][:4], digits["test"][1][:4]
    (loss,) = surrogate_losses(classifier, x, y, (y + 1) % 10)
    assert loss.scores().shape == (4, 10)
    assert loss.gradient().shape == x.shape


def test_a_stand_in_leads_where_gradients_are_hidden(framework, classifier, images):
    kind = {"pytorch": PreprocessorPyTorch, "tensorflow": PreprocessorTensorFlowV2}[framework]
    rounding = type(
        "Rounding", (kind,), {"forward": lambda self, x, y=None: (namespace(x).round(x), y)}
    )()
    hidden = defended(classifier, rounding)
    x, y = images["test"][0][:20], images["test"][1][:20]
    led = led_by(hidden, classifier)
    assert offers(led) == [led]
    assert not offers(hidden)
    found = SteeringAttack(led, eps=0.4, eps_step=0.2, max_iter=10, verbose=False).generate(x, y)
    np.testing.assert_array_equal(led.predict(x), hidden.predict(x))
    right = hidden.predict(x).argmax(1) == y
    assert (hidden.predict(found).argmax(1) == y).sum() < 0.5 * right.sum()


def test_an_offer_of_nothing_is_refused(lenet, digits):
    class Empty(Hiding):
        def surrogate_losses(self, x, y, targets, classifier):
            return []

    classifier = defended(make_classifier("pytorch", lenet["pytorch"]), Empty())
    attack = attacks.get("steering").create(classifier, **SETTINGS)
    with pytest.raises(ValueError, match="surrogate_losses of Empty returned no loss"):
        attack.generate(digits["test"][0][:2])


def test_suppressed_channels_are_led_too(framework):
    shape = (1, 28, 28) if framework == "pytorch" else (28, 28, 1)
    model = zoo.create(
        "lenet5", framework=framework, input_shape=shape, nb_classes=10, defence="cas"
    )
    rng = np.random.default_rng(0)  # auxiliary weights are zeros before training
    drawn = {k: rng.normal(0, 0.1, w.shape) for k, w in zoo.get_weights(model).items()}
    zoo.set_weights(model, {k: w.astype(np.float32) for k, w in drawn.items()})
    classifier = make_classifier(framework, model)
    x = np.random.default_rng(0).random((3, *shape), np.float32)
    with_auxiliary, without = surrogate_losses(classifier, x, None, np.array([1, 2, 3]))
    assert not np.allclose(with_auxiliary.gradient(), without.gradient(), rtol=0.01)
    np.testing.assert_allclose(with_auxiliary.scores(), without.scores(), atol=1e-5)


def test_losses_of_a_stand_in_come_in_batches(lenet, digits):
    classifier = make_classifier("pytorch", torch.nn.Sequential(lenet["pytorch"]))
    x, targets = digits["test"][0][:5], np.arange(5)
    whole, parts = (loss_of(classifier, x, targets, batch_size=size) for size in (128, 2))
    signs = (np.sign(each.gradient()) for each in (whole, parts))
    assert (next(signs) == next(signs)).mean() > 0.99
    np.testing.assert_allclose(whole.scores(), parts.scores(), atol=1e-5)


class Saying(Hiding):
    """The same, by someone who may say anything."""

    def __init__(self, offer):
        super().__init__()
        self._offer = offer

    def surrogate_losses(self, x, y, targets, classifier):
        return self._offer(x, y, targets)


def led(offer, n=2, **parameters):
    """Return adversarial examples of a few images, and the images."""
    undefended = make_classifier("pytorch", small("pytorch"), (3, 16, 16), 4)
    classifier = defended(undefended, Saying(offer))
    x = np.random.default_rng(0).random((n, 3, 16, 16), np.float32)
    settings = {**SETTINGS, "max_iter": 2, "verbose": False, **parameters}
    return SteeringAttack(classifier, **settings).generate(x), x


def saying(scores=lambda x: np.zeros((len(x), 4), np.float32), gradient=np.ones_like):
    return lambda x, y, targets: [SurrogateLoss(lambda: scores(x), lambda: gradient(x))]


@pytest.mark.parametrize(
    ("offer", "message"),
    [
        (
            saying(lambda x: np.zeros(len(x))),
            r"scores .* of Saying returned shape \(2,\).*\(2, 4\)",
        ),
        (saying(lambda x: np.zeros((len(x), 9))), r"scores .* returned shape \(2, 9\)"),
        (saying(lambda x: np.zeros((1, 4))), r"scores .* returned shape \(1, 4\)"),
        (saying(lambda x: "high"), r"scores .* returned no array of numbers"),
        # These would be stretched to the images in silence.
        (saying(gradient=lambda x: x[:1]), r"gradient .* returned shape \(1, 3, 16, 16\)"),
        (saying(gradient=lambda x: x[:, :1]), r"gradient .* returned shape \(2, 1, 16, 16\)"),
        (saying(gradient=lambda x: None), r"gradient .* returned shape \(\)"),
        (lambda *_: None, r"returned a NoneType for a loss: return a SurrogateLoss"),
        (lambda *given: saying()(*given)[0], r"returned a SurrogateLoss for a loss"),
        (lambda *_: [(0, 1)], r"returned a tuple for a loss"),
        # Alone, together and in turn, two losses are asked for; later there is one.
        (
            lambda x, y, targets: saying()(x, y, targets) * (1 + np.array_equal(y, targets)),
            r"returned 1 losses, and more before: return as many at every call",
        ),
    ],
)
def test_what_is_offered_wrongly_is_refused(offer, message):
    with pytest.raises((TypeError, ValueError), match=message):
        led(offer)


@pytest.mark.parametrize(
    "offer",
    [
        saying(lambda x: torch.zeros(len(x), 4, requires_grad=True)),
        saying(lambda x: [[0, 0, 0, 0]] * len(x)),
        saying(gradient=lambda x: torch.ones(x.shape, dtype=torch.float64)),
        # Their mean is beyond float32, or below all that it tells from zero.
        saying(gradient=lambda x: np.full_like(x, 3e38)),
        saying(gradient=lambda x: np.full_like(x, np.inf)),
        saying(gradient=lambda x: np.full_like(x, 1e-42)),
    ],
)
def test_what_can_be_understood_is_followed(offer):
    settings = {"n": 12, "eps": 0.3, "eps_step": 0.1, "max_iter": 4}
    adversarial, x = led(offer, **settings)
    still, _ = led(saying(gradient=np.zeros_like), **settings)
    np.testing.assert_array_equal(still, x)
    expected, _ = led(saying(), **settings)
    np.testing.assert_array_equal(adversarial, expected)
    assert (adversarial != x).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_that_are_no_numbers_lead_to_another_class(value):
    asked = []

    def offer(x, y, targets):
        if not np.array_equal(y, targets):
            asked.append((y.copy(), targets.copy()))
        return saying(lambda x: np.full((len(x), 4), value))(x, y, targets)

    led(offer, targets=3)
    assert asked
    assert all((labels != classes).all() for labels, classes in asked)


def test_one_that_gives_no_gradient_may_offer_losses():
    model = small("pytorch")

    class Offering(BlackBoxClassifier):
        def surrogate_losses(self, x, y, targets, classifier):
            return saying()(x, y, targets)

    def predict(x):
        return model(torch.from_numpy(x)).detach().numpy()

    classifier = Offering(predict, (3, 16, 16), 4, clip_values=(0, 1))
    x = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    found = SteeringAttack(classifier, **{**SETTINGS, "eps_step": 0.0}, verbose=False).generate(x)
    assert found.shape == x.shape


def test_the_loss_of_one_that_gives_no_gradient_is_refused():
    classifier = BlackBoxClassifier(lambda x: x, (3, 16, 16), 4, clip_values=(0, 1))
    with pytest.raises(ValueError, match="a BlackBoxClassifier, which gives no loss gradients"):
        loss_of(classifier, np.zeros((2, 3, 16, 16), np.float32), np.zeros(2, np.int64))


def test_targets_that_are_no_classes_are_refused(framework, lenet, digits):
    classifier = make_classifier(framework, lenet[framework])
    x = to_framework(digits["test"][0][:2], framework)
    nip = NIPPreprocessor.for_estimator(classifier, retrieval="class", verbose=False)
    nip.fit(to_framework(digits["bank"][0][:60], framework))
    for offer in (
        lambda targets: nip.surrogate_losses(x, None, targets),
        lambda targets: loss_of(classifier, x, targets),
    ):
        for targets in (np.array([0, -1]), np.array([0, 10]), np.array([0])):
            with pytest.raises(ValueError, match="Labels"):
                offer(targets)
