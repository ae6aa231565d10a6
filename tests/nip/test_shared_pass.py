"""Predictions that need no second pass for images that NIP left alone."""

import copy
import pickle

import numpy as np
import pytest
from art.defences.postprocessor import Rounded

from art_nip import zoo
from art_nip.attacks.in_unit_range import in_unit_range
from art_nip.defences import FeatureDistillationPyTorch, FeatureDistillationTensorFlowV2
from art_nip.estimators.clones import clone
from art_nip.estimators.pass_counting import counting
from art_nip.estimators.single_precision import single_precision
from art_nip.nip.shared_pass import SharesPass
from tests.helpers import make_classifier
from tests.models import TINY_SHAPE, tiny
from tests.nip.helpers import fitted


@pytest.fixture
def mixed(images, attacked):
    """Benign digits that are mostly left alone, and attacked ones that are mostly changed."""
    return np.concatenate([images["test"][0][:60], attacked[0][:20]])


def in_two_passes(nip, classifier, x):
    return classifier.predict(nip(x)[0])


def test_predictions_are_the_same_for_fewer_passes(class_nip, classifier, mixed):
    defended = class_nip.attach(classifier)
    with counting(classifier) as shared:
        found = defended.predict(mixed)
    with counting(classifier) as unshared:
        expected = in_two_passes(class_nip, classifier, mixed)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    changed = int((class_nip(mixed)[0] != mixed).any(axis=(1, 2, 3)).sum())
    assert 5 < changed < 30
    assert unshared.forward - shared.forward == len(mixed) - changed
    assert shared.backward == unshared.backward


def test_an_image_that_is_left_alone_costs_one_pass(class_nip, classifier, images):
    x = images["test"][0]
    alone = x[(class_nip(x)[0] == x).all(axis=(1, 2, 3))]
    assert len(alone) > 100
    defended = class_nip.attach(classifier)
    with counting(classifier) as passes:
        defended.predict(alone)
    assert (passes.forward, passes.backward) == (len(alone), 0)


def test_images_outside_the_range_and_nan_are_predicted_as_ever(class_nip, classifier, mixed):
    x = mixed.copy()
    x[0].flat[100] = np.nan
    x[1] *= 1.5
    x[2].flat[200] = np.inf
    defended = class_nip.attach(classifier)
    found = defended.predict(x)
    images, _ = defended._apply_preprocessing(x, y=None, fit=False)
    expected = classifier.predict(images)
    assert np.isnan(images[[0, 2]]).all()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_other_wrappers_around_see_the_same(class_nip, classifier, mixed):
    defended = class_nip.attach(classifier)
    expected = in_two_passes(class_nip, classifier, mixed)
    for other in (single_precision(defended), clone(defended), in_unit_range(defended)):
        np.testing.assert_allclose(other.predict(mixed), expected, atol=1e-5)
    np.testing.assert_allclose(defended.predict(x=list(mixed)), expected, atol=1e-5)
    found = single_precision(defended).predict(mixed.astype(np.float64))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_clone_is_attached_to_as_its_class_is(class_nip, classifier, mixed):
    expected = in_two_passes(class_nip, classifier, mixed)
    for other in (single_precision(classifier), in_unit_range(classifier)):
        defended = class_nip.attach(other)
        assert isinstance(defended, SharesPass)
        np.testing.assert_allclose(defended.predict(mixed), expected, atol=1e-5)


def test_in_another_range(framework, lenet, images):
    """A clone that scales images does so once, whether they are answered or not."""
    model, (x, y) = lenet[framework], images["bank"]
    classifier = make_classifier(framework, model, clip_values=(0, 255), preprocessing=(0, 255))
    nip = fitted(classifier, 255 * x[:150], y[:150], "class")
    pixels = 255 * images["test"][0][:40]
    expected = in_two_passes(nip, classifier, pixels)
    defended = nip.attach(classifier)
    np.testing.assert_allclose(defended.predict(pixels), expected, atol=1e-3)
    np.testing.assert_allclose(in_unit_range(defended).predict(pixels / 255), expected, atol=1e-2)


def test_defences_before_it_and_behind_the_model(class_nip, classifier, framework, mixed):
    kind = FeatureDistillationPyTorch if framework == "pytorch" else FeatureDistillationTensorFlowV2
    before = kind(clip_values=(0, 1), channels_first=framework == "pytorch")
    first = clone(classifier)
    first.set_params(preprocessing_defences=[before], postprocessing_defences=[Rounded(2)])
    found = class_nip.attach(first).predict(mixed)
    expected = in_two_passes(class_nip, classifier, before(mixed)[0])
    np.testing.assert_allclose(found, np.around(expected, 2), atol=0.011)


def test_a_defence_added_behind_it_is_not_passed_by(class_nip, classifier, framework, mixed):
    kind = FeatureDistillationPyTorch if framework == "pytorch" else FeatureDistillationTensorFlowV2
    behind = kind(clip_values=(0, 1), channels_first=framework == "pytorch")
    defended = class_nip.attach(classifier)
    defended.set_params(preprocessing_defences=[class_nip, behind])
    expected = classifier.predict(behind(class_nip(mixed)[0])[0])
    np.testing.assert_allclose(defended.predict(mixed), expected, atol=1e-4)


def test_probabilities_stay_probabilities(framework):
    shape = TINY_SHAPE[framework]
    classifier = make_classifier(framework, tiny(framework, softmax=True), shape, 2)
    x = np.random.default_rng(0).random((60, *shape), np.float32)
    view = {"name": "SpatialSmoothing", "window_size": 1}
    evidence = {"name": "views", "defences": [view]}
    nip = fitted(classifier, x, None, {"name": "class", "evidence": evidence}, k1=1, k2=1)
    found = nip.attach(classifier).predict(x)
    np.testing.assert_allclose(found, in_two_passes(nip, classifier, x), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)


def test_other_retrievals_and_other_classes_predict_as_they_did(framework, lenet, images):
    x, y = images["bank"]
    classifier = make_classifier(framework, lenet[framework])
    defended = fitted(classifier, x[:60], y[:60]).attach(classifier)
    found = defended.predict(images["test"][0][:20])
    assert not isinstance(defended, SharesPass)
    assert found.shape == (20, 10)

    class OwnClassifier(type(classifier)):
        def predict(self, x, *arguments, **keywords):
            return 2 * super().predict(x, *arguments, **keywords)

    own = clone(classifier, OwnClassifier)
    doubled = fitted(classifier, x[:150], y[:150], "class").attach(own)
    single = fitted(classifier, x[:150], y[:150], "class").attach(classifier)
    expected = 2 * single.predict(images["test"][0][:20])
    np.testing.assert_allclose(doubled.predict(images["test"][0][:20]), expected, atol=1e-4)


def test_a_model_set_anew_on_a_defended_classifier_counts(class_nip, classifier, framework, mixed):
    images, _ = class_nip(mixed)
    other = make_classifier(
        framework,
        zoo.create("lenet5", framework=framework, input_shape=mixed.shape[1:], nb_classes=10),
    )
    defended = class_nip.attach(classifier)
    defended._model = other._model
    np.testing.assert_allclose(defended.predict(mixed), other.predict(images), atol=1e-5)


def test_no_image_is_the_same_error_as_undefended(class_nip, classifier, mixed):
    defended = class_nip.attach(classifier)

    def outcome(estimator):
        try:
            return estimator.predict(mixed[:0]).shape
        except Exception as error:  # of PyTorch's or TensorFlow's own
            return type(error)

    assert outcome(defended) == outcome(classifier)


def test_copies_and_pickles_of_a_defended_classifier(digits, lenet):
    """ART's TensorFlow classifiers can be neither copied nor pickled."""
    classifier = make_classifier("pytorch", lenet["pytorch"])
    nip = fitted(classifier, *(part[:150] for part in digits["bank"]), "class")
    defended, x = nip.attach(classifier), digits["test"][0][:10]
    with counting(defended) as wanted:
        expected = defended.predict(x)
    for other in (copy.deepcopy(defended), pickle.loads(pickle.dumps(defended))):
        assert type(other) is type(defended)
        with counting(other) as passes:
            np.testing.assert_allclose(other.predict(x), expected, atol=1e-6)
        assert vars(passes) == vars(wanted)
