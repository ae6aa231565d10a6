"""Surrogate losses that users offer themselves, and who offers any."""

import numpy as np
import pytest
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch

from art_nip import attacks, zoo
from art_nip.attacks.steering import SteeringAttack
from art_nip.attacks.surrogates import loss_of, offers, standing_in, surrogate_losses
from art_nip.estimators.clones import defended
from art_nip.utils.surrogates import SurrogateLoss
from tests.helpers import make_classifier

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
