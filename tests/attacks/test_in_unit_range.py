"""ART's attacks on classifiers of any range, by way of clones that take images in [0, 1]."""

import numpy as np
import pytest
from art.attacks.evasion import FastGradientMethod
from art.defences.preprocessor import FeatureSqueezing
from art.estimators.classification import EnsembleClassifier

from art_nip import attacks
from art_nip.attacks.in_unit_range import InUnitRange, in_unit_range
from art_nip.benchmark.plan.serialization import Detached
from art_nip.estimators.single_precision import single_precision
from art_nip.utils.seeds import seeded
from tests.helpers import make_classifier


@pytest.fixture
def of_bytes(framework, lenet):
    """The model of digits as a classifier of images from 0 to 255."""
    scaled = {"clip_values": (0, 255), "preprocessing": (0, 255)}
    return make_classifier(framework, lenet[framework], **scaled)


@pytest.mark.parametrize("defence", [None, FeatureSqueezing((0, 255), bit_depth=8)])
def test_gradients_are_those_to_the_images_in_the_unit(of_bytes, framework, lenet, images, defence):
    x, y = images["test"][0][:3], np.eye(10, dtype=np.float32)[images["test"][1][:3]]
    if defence is not None:
        of_bytes.set_params(preprocessing_defences=defence)
        of_bytes = single_precision(of_bytes)  # ART's defence gives float64
    unit = in_unit_range(of_bytes)
    np.testing.assert_allclose(unit.predict(x), of_bytes.predict(255 * x), atol=1e-4)
    for gradients in (
        lambda classifier, images: classifier.loss_gradient(images, y),
        lambda classifier, images: classifier.class_gradient(images, 3),
    ):
        expected = 255 * gradients(of_bytes, (255 * x).astype(np.float32))
        np.testing.assert_allclose(gradients(unit, x), expected, rtol=1e-3, atol=1e-5)
    assert of_bytes.clip_values[1] == 255
    assert unit.clip_values.tolist() == [0, 1]


def test_a_classifier_of_the_unit_is_taken_as_it_is(classifier):
    unit = in_unit_range(classifier)
    assert "_TakesUnitRange" not in [kind.__name__ for kind in type(unit).__mro__]
    assert in_unit_range(unit) is unit


def test_what_predicts_by_itself_is_refused_and_not_misled(lenet):
    """An ensemble asks its members, so that nothing would give images their range back."""
    members = {
        high: [
            make_classifier(
                "pytorch", lenet["pytorch"], clip_values=(0, high), preprocessing=(0, high)
            )
        ]
        for high in (1, 255)
    }
    x = np.full((1, 1, 28, 28), 0.5, np.float32)
    ensemble = EnsembleClassifier(members[255], clip_values=(0, 255), channels_first=True)
    with pytest.raises(ValueError, match=r"predicts without .* clip_values=\(0, 1\)"):
        attacks.get("square").create(ensemble, max_iter=2).generate(255 * x)
    ensemble = EnsembleClassifier(members[1], clip_values=(0, 1), channels_first=True)
    attacks.get("square").create(ensemble, max_iter=2).generate(x)


@pytest.mark.parametrize("name", ["pgd", "apgd", "eot", "uap", "noise", "auna"])
def test_a_named_attack_is_bound_to_another_classifier_of_its_range(name, of_bytes, images):
    x, y = 255 * images["test"][0][:3], images["test"][1][:3]
    squeezing = FeatureSqueezing((0, 255), bit_depth=3)
    other = make_classifier(
        "pytorch" if of_bytes.channels_first else "tensorflow",
        of_bytes.model,
        clip_values=(0, 255),
        preprocessing=(0, 255),
        preprocessing_defences=squeezing,
    )
    defended = single_precision(other)
    settings = {"eps": 0.2, "max_iter": 2} if name in ("pgd", "apgd", "eot") else {}
    bound = Detached(attacks.get(name).create(of_bytes, **settings), of_bytes).bind(defended)
    expected = attacks.get(name).create(defended, **settings)
    with seeded(0):
        found = bound.generate(x, y)
    with seeded(0):
        np.testing.assert_array_equal(found, expected.generate(x, y))
    assert found.max() > 1


def test_parameters_are_read_and_set_on_the_attack(of_bytes):
    attack = attacks.get("pgd").create(of_bytes, eps=0.2)
    assert attack.estimator is of_bytes
    assert (attack.eps, attack.attack.eps) == (0.2, 0.2)
    assert "eps_step" in attack.attack_params
    attack.set_params(eps=0.1, max_iter=3)
    assert (attack.eps, attack.attack.eps, attack.max_iter) == (0.1, 0.1, 3)
    with pytest.raises(ValueError, match="eps"):
        attack.set_params(eps=-1.0)
    assert attack.eps == 0.1
    with pytest.raises(AttributeError, match="'InUnitRange' object has no attribute 'epsilon'"):
        attack.epsilon  # noqa: B018


def test_an_image_that_became_nan_comes_back_as_it_was(of_bytes, images):
    class Spoils(FastGradientMethod):
        def generate(self, x, y=None, **kwargs):
            x.reshape(len(x), -1)[0, 40] = np.nan
            return np.clip(x + 0.1, 0, 1)

    x = 255 * images["test"][0][:2]
    before = x.copy()
    found = InUnitRange(of_bytes, Spoils, {}).generate(x)
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(found[0], x[0])
    assert np.abs(found[1] - x[1]).max() == pytest.approx(25.5, rel=1e-4)
