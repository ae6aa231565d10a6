"""The surrogate losses of defences: exact gradients, and attacks that are made for a defence."""

import copy

import numpy as np
import pytest

from art_nip.attacks.surrogates import offers, surrogate_losses
from art_nip.estimators.clones import defended
from art_nip.utils.seeds import seeded
from tests.defences.helpers import CLASSES, Pictures, oriented

EXACT = ("ss", "jpeg", "cbdr", "tvm", "fdistill", "sr", "stl")


@pytest.mark.parametrize("name", EXACT)
def test_the_exact_gradient_is_another_and_the_answer_the_same(name, pictured, pictures, bank):
    made, framework = pictured
    defence = made.named(name, bank)
    classifier, x = defended(made.classifier, defence), oriented(pictures, framework)
    scores = classifier.predict(x)
    targets = np.argsort(scores, axis=1)[:, -2]
    with seeded(0):
        exact, straight = surrogate_losses(classifier, x, scores.argmax(axis=1), targets)
        np.testing.assert_allclose(exact.scores(), scores, atol=1e-4)
        gradients = exact.gradient(), straight.gradient()
    assert gradients[0].shape == gradients[1].shape == x.shape
    assert np.isfinite(gradients[0]).all()
    assert not np.allclose(*gradients, rtol=0.05)
    # Nothing has changed for those who do not ask.
    assert not defence._is_exact


@pytest.mark.parametrize("name", ["sr", "stl"])
def test_the_exact_gradient_is_that_of_the_loss(name, pictured, pictures, bank):
    made, framework = pictured
    defence = made.named(name, bank)
    exact = copy.copy(defence)
    exact._is_exact = True
    classifier, x = defended(made.classifier, exact), oriented(pictures, framework)
    x = 0.9 * x + np.float32(0.05)
    slopes = {}
    for kind, given in (("exact", exact), ("straight", defence)):
        led = defended(made.classifier, given)
        labels = np.eye(CLASSES, dtype=np.float32)[np.argsort(classifier.predict(x))[:, -2]]
        gradient = led.loss_gradient(x, labels)
        length = np.linalg.norm(gradient.reshape(len(x), -1), axis=1)
        step = 0.02 * gradient / length[:, None, None, None]
        there, back = (classifier.compute_loss(x + way * step, labels) for way in (1, -1))
        slopes[kind] = (np.ravel(there) - np.ravel(back)) / 0.04
    # The defence smooths: who follows its own gradient rises faster than who believes it away.
    assert (slopes["exact"] > slopes["straight"]).mean() >= 0.75
    assert slopes["exact"].sum() > 1.05 * slopes["straight"].sum()


def test_the_anti_adversary_layer_is_left_out(pictured, pictures, bank):
    made, framework = pictured
    layer = made.named("anti-adversary", bank)
    classifier, x = defended(made.classifier, layer), oriented(pictures, framework)
    targets = np.zeros(len(x), np.int64)
    bare, through = surrogate_losses(classifier, x, targets, targets)
    np.testing.assert_allclose(bare.scores(), made.classifier.predict(x), atol=1e-5)
    np.testing.assert_allclose(through.scores(), classifier.predict(x), atol=1e-5)
    labels = np.eye(CLASSES, dtype=np.float32)[targets]
    expected = -made.classifier.loss_gradient(x, labels)
    np.testing.assert_allclose(bare.gradient(), expected, atol=1e-6)


def test_importance_masking_offers_both_passes(colour_models, pictures, bank):
    made = Pictures("pytorch", colour_models, 0.0, 1.0)
    masking = made.named("importance-masking", bank)
    classifier, x = masking.get_classifier(), oriented(pictures, "pytorch")
    (part,) = offers(classifier)
    assert part is classifier.model
    targets = np.arange(len(x)) % CLASSES
    both, second, first = surrogate_losses(classifier, x, targets, targets)
    np.testing.assert_allclose(first.scores(), made.classifier.predict(x), atol=1e-5)
    np.testing.assert_allclose(both.scores(), classifier.predict(x), atol=1e-5)
    # Where the first pass chooses the target's mask, the second is what comes of it.
    same = surrogate_losses(classifier, x, targets, first.scores().argmax(axis=1))[1]
    sure = np.sort(first.scores(), axis=1)[:, -2:]
    sure = np.flatnonzero(sure[:, 1] - sure[:, 0] > 0.1)
    np.testing.assert_allclose(same.scores()[sure], classifier.predict(x)[sure], atol=1e-2)
    for loss in (both, second, first, *masking.surrogate_losses(x, targets, targets, classifier)):
        assert loss.gradient().shape == x.shape
