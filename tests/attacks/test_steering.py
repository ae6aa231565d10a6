"""The attack that follows surrogate losses, on NIP."""

import numpy as np
import pytest

from art_nip import NIPPreprocessor
from art_nip.attacks.pgd import ProjectedGradientDescent
from art_nip.attacks.steering import SteeringAttack
from art_nip.estimators.layers import Layer
from art_nip.nip.retrieval.class_evidence import ClassEvidence
from art_nip.nip.retrieval.evidence import EstimatorEvidence, GradedViewEvidence, ViewEvidence
from art_nip.utils.seeds import seeded
from tests.helpers import make_classifier

EPS = 0.15
SETTINGS = {"eps": EPS, "eps_step": 0.08, "max_iter": 15, "targets": 3, "seed": 0, "verbose": False}


@pytest.fixture(params=["similarity", "nearest", "class", "views", "graded", "estimator"])
def retrieval(request, framework, lenet):
    if request.param == "views":
        return ClassEvidence(ViewEvidence([{"name": "SpatialSmoothing", "window_size": 3}]))
    if request.param == "graded":
        return ClassEvidence(GradedViewEvidence())
    if request.param == "estimator":
        return ClassEvidence(EstimatorEvidence(make_classifier(framework, lenet[framework])))
    return request.param


def fitted(classifier, images, retrieval):
    nip = NIPPreprocessor.for_estimator(classifier, retrieval=retrieval, verbose=False)
    nip.fit(*images["bank"])
    return nip


def test_it_fools_within_its_ball(classifier, images, retrieval):
    defended = fitted(classifier, images, retrieval).attach(classifier)
    x, y = images["test"][0][:16], images["test"][1][:16]
    with seeded(0):
        adversarial = SteeringAttack(defended, **SETTINGS).generate(x, y)
    assert adversarial.dtype == np.float32
    assert np.abs(adversarial - x).max() <= EPS + 1e-6
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    right = defended.predict(x).argmax(axis=1) == y
    left = defended.predict(adversarial).argmax(axis=1) == y
    assert left.sum() <= right.sum() - 4
    # What resists, and what is wrong already, comes back as it was.
    same = (adversarial == x).reshape(len(x), -1).all(axis=1)
    assert same[~right].all()
    assert same[right & left].all()


def test_it_beats_an_attack_that_knows_nothing_of_evidence(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    defended = fitted(classifier, digits, "class").attach(classifier)
    x, y = digits["test"][0][:24], digits["test"][1][:24]
    blind = ProjectedGradientDescent(defended, eps=EPS, eps_step=0.02, max_iter=15, verbose=False)
    with seeded(0):
        left = [
            (defended.predict(attack.generate(x, y)).argmax(axis=1) == y).mean()
            for attack in (blind, SteeringAttack(defended, **SETTINGS))
        ]
    assert left[1] < left[0] - 0.1


def test_several_restarts_and_targets_add_up(classifier, images):
    defended = fitted(classifier, images, "class").attach(classifier)
    x, y = images["test"][0][:16], images["test"][1][:16]

    def broken(**parameters):
        attack = SteeringAttack(defended, **{**SETTINGS, "eps": 0.1, **parameters})
        return defended.predict(attack.generate(x, y)).argmax(axis=1) != y

    one = broken(targets=1)
    assert (broken(targets=4) >= one).all()
    assert (broken(targets=1, restarts=3) >= one).all()


def test_the_surrogate_loss_of_evidence_has_its_gradient(classifier, images):
    nip = fitted(classifier, images, "class")
    # In noise, as the roots in the vectors are steep where nothing is to be seen.
    noise = np.random.default_rng(0).random(images["test"][0][:3].shape, np.float32)
    x = 0.5 * images["test"][0][:3] + 0.5 * noise
    targets = (classifier.predict(x).argmax(axis=1) + 1) % 10

    def losses(moved):
        return nip.surrogate_losses(moved, None, targets)

    evidence, model = losses(x)
    gradient = evidence.gradient()
    assert gradient.shape == model.gradient().shape == x.shape
    np.testing.assert_allclose(model.scores(), classifier.predict(x), atol=1e-3)

    def said(moved):
        return losses(moved)[0].scores()[np.arange(3), targets].astype(np.float64)

    axes = (1, 2, 3)
    unit = gradient / np.sqrt((gradient**2).sum(axis=axes, keepdims=True))
    step = 0.002
    slope = (said(x + step * unit) - said(x - step * unit)) / (2 * step)
    np.testing.assert_allclose(slope, np.sqrt((gradient**2).sum(axis=axes)), rtol=0.1)


def test_what_is_sure_is_not_led(classifier, images):
    nip = fitted(classifier, images, "class")
    x = images["test"][0][:20]
    logits, posterior = classifier.predict(x), nip.evidence(x)
    agreed = np.flatnonzero(logits.argmax(axis=1) == posterior.argmax(axis=1))[:3]
    same = logits[agreed].argmax(axis=1)
    _, model = nip.surrogate_losses(x[agreed], None, same)
    assert not model.gradient().any()
    for loss in nip.surrogate_losses(x[agreed], None, (same + 1) % 10):
        assert loss.gradient().any()


def test_evidence_is_led_in_every_layer(lenet, digits):
    """A layer that is sure holds the mean of layers; the sum of logarithms moves the others."""
    nip = fitted(make_classifier("pytorch", lenet["pytorch"]), digits, "class")
    x = digits["test"][0][:8]
    evidence, _ = nip.surrogate_losses(x, None, np.zeros(8, np.int64))
    reader = nip._ready().reader
    _, maps = nip._adapter.logits_and_activations(nip._adapter.tensor(x), reader.evidence.layers)
    layers = [nip._adapter.numpy(scores) for scores in reader.evidence._scores(maps)]
    assert len(layers) == 2
    expected = sum(np.log(np.exp(z - z.max(1, keepdims=True)).clip(1e-30)) for z in layers)
    normed = evidence.scores() - evidence.scores().max(axis=1, keepdims=True)
    np.testing.assert_allclose(normed, expected - expected.max(1, keepdims=True), atol=1e-2)


def test_gradients_of_any_objective(classifier, images):
    """Gradients add up, and those of a layer's output are there too."""
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    adapter, x = nip._adapter, nip._adapter.tensor(images["test"][0][:4])
    first = adapter.gradient(x, (), lambda z, _: z[:, 3])
    second = adapter.gradient(x, (), lambda z, _: z[:, 5])
    both = adapter.gradient(x, (), lambda z, _: 2 * z[:, 3] - z[:, 5])
    np.testing.assert_allclose(adapter.numpy(both), adapter.numpy(2 * first - second), atol=1e-5)
    layer = Layer.parse(nip.layer_name)
    through = adapter.gradient(x, (layer,), lambda _, maps: maps[0][:, 0, 0])
    assert through.shape == x.shape
    assert adapter.numpy(through).any()


def test_it_needs_surrogate_losses(classifier):
    with pytest.raises(
        ValueError, match=r"nothing in this classifier offers any.*surrogate_losses"
    ):
        SteeringAttack(classifier)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"eps": -1}, "eps=-1"),
        ({"max_iter": 0}, "max_iter=0"),
        ({"targets": 1.5}, "targets=1.5"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_it_refuses_what_it_cannot_do(classifier, nip, parameters, message):
    with pytest.raises(ValueError, match=message):
        SteeringAttack(nip.attach(classifier), **parameters)


def test_unknown_keywords(classifier, nip, images):
    attack = SteeringAttack(nip.attach(classifier), verbose=False)
    with pytest.raises(TypeError, match="given mask too"):
        attack.generate(images["test"][0][:1], mask=None)
    assert len(attack.generate(images["test"][0][:0])) == 0
