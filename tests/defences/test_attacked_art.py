"""The attacks made for ART's own defences, and for those that are ART's for images of any range."""

import numpy as np
import pytest
from art.defences.preprocessor import FeatureSqueezing, JpegCompression, SpatialSmoothing

from art_nip import defences
from art_nip.attacks import art_defences
from art_nip.attacks.art_defences import OfART, led_through
from art_nip.attacks.steering import SteeringAttack
from art_nip.attacks.surrogates import offers, surrogate_losses
from art_nip.estimators.clones import defended
from tests.defences.helpers import CLASSES, Pictures, keras_classifier, oriented
from tests.helpers import make_classifier

ART = {
    "ss": lambda first: SpatialSmoothing(2, channels_first=first),
    "jpeg": lambda first: JpegCompression((0, 1), 80, channels_first=first),
    "cbdr": lambda first: FeatureSqueezing((0, 1), 5),
}
"""ART's own defences with the parameters of ours, by whether channels come first."""


@pytest.mark.parametrize("name", ART)
def test_arts_own_defences_are_attacked_as_ours_are(name, pictured, pictures, bank):
    made, framework = pictured
    if (name, framework) == ("cbdr", "pytorch"):
        pytest.skip("ART's feature squeezing makes float64 of images, which no PyTorch model takes")
    x = oriented(pictures, framework)
    targets = np.arange(len(x)) % CLASSES
    given = ART[name](framework == "pytorch"), made.named(name, bank)
    art, ours = (defended(made.classifier, each) for each in given)
    assert [type(part) for part in offers(art)] == [OfART]
    exact, straight = surrogate_losses(art, x, targets, targets)
    np.testing.assert_allclose(exact.scores(), art.predict(x), atol=1e-5)
    assert not np.allclose(exact.gradient(), straight.gradient(), rtol=0.05)
    wrapped, _ = surrogate_losses(ours, x, targets, targets)
    np.testing.assert_allclose(exact.gradient(), wrapped.gradient(), atol=2e-4)


@pytest.mark.parametrize("name", ART)
@pytest.mark.parametrize("high", [255.0, (1.0, 2.0, 4.0)])
def test_the_gradient_does_not_depend_on_the_unit(name, high, pictured, pictures, colour_models):
    unit, framework = pictured
    low = 0.0 if np.isscalar(high) else (-1.0, -2.0, 0.0)
    scaled = Pictures(framework, colour_models, low, high)
    found = []
    for made in (unit, scaled):
        classifier = defended(made.classifier, made.named(name, None))
        x, targets = made.of(pictures), np.zeros(len(pictures), np.int64)
        exact, _ = surrogate_losses(classifier, x, targets, targets)
        found.append(exact.gradient() * np.float32(made.span))
    near = np.isclose(*found, atol=1e-3 * np.abs(found[0]).max())
    # A rounding may choose another of two pixels, or another side of a step.
    assert near.mean() > 0.97


def test_a_defence_behind_another_is_gone_back_through_where_it_stands(colour_models, pictures):
    # Of ART's classifiers this is the one that chains defences for NumPy.
    bare = keras_classifier(colour_models["tensorflow"])
    smoothing, jpeg = ART["ss"](False), ART["jpeg"](False)
    targets = np.zeros(len(pictures), np.int64)
    alone, both = defended(bare, jpeg), defended(defended(bare, smoothing), jpeg)
    gradient = art_defences.gradient_of(jpeg)
    behind, _ = led_through(jpeg, gradient, pictures, targets, both)
    there, _ = led_through(jpeg, gradient, smoothing(pictures)[0], targets, alone)
    np.testing.assert_allclose(behind.gradient(), there.gradient(), atol=1e-6)
    assert len(offers(both)) == 2


def test_what_is_derived_from_arts_is_not_taken_for_it(pictured):
    class Other(SpatialSmoothing):
        def __call__(self, x, y=None):
            return x, y

    assert offers(defended(pictured[0].classifier, Other(2))) == []
    assert not offers(defended(pictured[0].classifier, pictured[0].named("tvm-art", None)))


@pytest.mark.parametrize(("name", "parameters"), [("ss", {}), ("jpeg", {"quality": 20})])
def test_the_suites_attack_leaves_less_than_the_identity_does(
    name, parameters, lenet, digits, monkeypatch
):
    bare = make_classifier("pytorch", lenet["pytorch"])
    classifier = defended(bare, defences.get(name).create(bare, **parameters))
    x, y = (part[:60] for part in digits["test"])
    left = {}
    for way, place in (("exact", 0), ("identity", 1)):
        monkeypatch.setattr(SteeringAttack, "_schedules", one(SteeringAttack._schedules, place))
        attack = SteeringAttack(classifier, eps=0.12, eps_step=0.06, max_iter=15, targets=2)
        found = attack.generate(x, y)
        left[way] = (classifier.predict(found).argmax(axis=1) == y).sum()
        monkeypatch.undo()
    assert left["exact"] < left["identity"]


def one(schedules, place):
    """The schedule that follows one of the losses alone."""

    def found(self, x, labels):
        return [list(schedules(self, x, labels))[place]]

    return found
