"""The attack that is made for NIP: it leads model and retrieval together."""

import numpy as np
import pytest

from art_nip import NIPPreprocessor
from art_nip.attacks.nip_steering import SteeringAttack
from art_nip.attacks.pgd import ProjectedGradientDescent
from art_nip.estimators.layers import Layer
from art_nip.nip.retrieval.class_evidence import ClassEvidence
from art_nip.nip.retrieval.evidence import EstimatorEvidence, GradedViewEvidence, ViewEvidence
from art_nip.utils.seeds import seeded
from tests.helpers import make_classifier

EPS = 0.15
SETTINGS = {"eps": EPS, "eps_step": 0.02, "max_iter": 15, "seed": 0, "verbose": False}


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
    x, y = images["test"][0][:24], images["test"][1][:24]
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
    x, y = digits["test"][0][:60], digits["test"][1][:60]
    blind = ProjectedGradientDescent(defended, eps=EPS, eps_step=0.02, max_iter=15, verbose=False)
    with seeded(0):
        left = [
            (defended.predict(attack.generate(x, y)).argmax(axis=1) == y).mean()
            for attack in (blind, SteeringAttack(defended, **SETTINGS))
        ]
    assert left[1] < left[0] - 0.1


def test_several_restarts_and_targets_add_up(classifier, images):
    defended = fitted(classifier, images, "class").attach(classifier)
    x, y = images["test"][0][:40], images["test"][1][:40]

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
    classes = (classifier.predict(x).argmax(axis=1) + 1) % 10
    model, evidence = nip.surrogate_losses(x, classes)
    assert model.shape == evidence.shape == x.shape

    def said(moved):
        return nip.evidence(moved)[np.arange(3), classes].astype(np.float64)

    axes = (1, 2, 3)
    unit = evidence / np.sqrt((evidence**2).sum(axis=axes, keepdims=True))
    step = 0.002
    slope = (said(x + step * unit) - said(x - step * unit)) / (2 * step)
    np.testing.assert_allclose(slope, np.sqrt((evidence**2).sum(axis=axes)), rtol=0.1)


def test_what_is_sure_is_not_led(classifier, images):
    nip = fitted(classifier, images, "class")
    x = images["test"][0][:20]
    logits, posterior = classifier.predict(x), nip.evidence(x)
    agreed = np.flatnonzero(logits.argmax(axis=1) == posterior.argmax(axis=1))[:3]
    model, evidence = nip.surrogate_losses(x[agreed], logits[agreed].argmax(axis=1))
    assert not model.any()
    other = (logits[agreed].argmax(axis=1) + 1) % 10
    assert all(each.any() for each in nip.surrogate_losses(x[agreed], other))
    assert evidence.shape == model.shape


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


def test_it_needs_one_nip(classifier):
    with pytest.raises(ValueError, match=r"this one has 0: give it nip\.attach"):
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
