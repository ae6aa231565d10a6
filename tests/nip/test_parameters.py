"""What parameters, images and labels may be, and what set_params keeps."""

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from art_nip import (
    NIPPreprocessor,
    zoo,
)
from tests.helpers import make_classifier


def fitted(classifier, images, n=100, **parameters):
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False, **parameters)
    nip.fit(images["bank"][0][:n], images["bank"][1][:n])
    return nip


# Parameters


def test_set_params_keeps_the_fit_where_it_can(classifier, images):
    x = images["test"][0][:5]
    nip = fitted(classifier, images)
    before = nip(x)[0]
    nip.set_params(**{name: getattr(nip, name) for name in nip.params})
    assert np.array_equal(nip(x)[0], before)
    nip.set_params(strength=0.0, batch_size=2)
    assert np.array_equal(nip(x)[0], x)
    nip.set_params(layer="classifier.2", k1=3)
    assert (nip.is_fitted, nip.layer_name, nip.k1) == (False, "classifier.2", 3)
    with pytest.raises(NotFittedError):
        nip(x)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"strenght": 2}, ValueError, "no parameter 'strenght'. The nearest is 'strength'"),
        ({"k1": 30}, ValueError, "k1=30, but the front part has only 26 of the layer's 256"),
        ({"k2": 200}, ValueError, "k2=200, but the tail part has only 154 of the layer's 256"),
        ({"k1": -1}, ValueError, "k1=-1; give a whole number of at least 0"),
        ({"k1": 2.5}, ValueError, "k1=2.5; give a whole number"),
        ({"k1": 0, "k2": 0}, ValueError, "k1 and k2 are both 0"),
        ({"fractions": (0.1, 0.3, 0.5)}, ValueError, "sum to 0.9, not to 1"),
        ({"fractions": (0.5, 0.5)}, ValueError, "give three positive shares"),
        ({"fractions": (1.5, -0.5, 0)}, ValueError, "give three positive shares"),
        ({"confidence": "margin"}, ValueError, "Did you mean 'logit'.*Allowed: probability, logit"),
        ({"template": "median"}, ValueError, "Did you mean 'mean'.*Allowed: mean, quorum"),
        ({"quorum": 0}, ValueError, "give a finite number above 0 and at most 1"),
        ({"bank_dtype": "int8"}, ValueError, "Allowed: float32, float16, uint8"),
        ({"batch_size": 0}, ValueError, "batch_size=0; give a whole number of at least 1"),
        ({"strength": float("nan")}, ValueError, "give a finite number"),
        ({"clip_values": (1, 0)}, ValueError, "with min below max"),
        ({"layer": 3}, TypeError, "give a layer's name, or 'auto'"),
        ({"layer": "classifer.0"}, ValueError, "The nearest: classifier.0"),
        ({"layer": "classifier.4", "k1": 1}, ValueError, "tail part has only 6 of the layer's 10"),
    ],
)
def test_wrong_parameters_are_refused_at_once(classifier, change, error, message):
    if "classifier.4" in change.values():
        change = {**change, "k2": 7}
    with pytest.raises(error, match=message):
        NIPPreprocessor.for_estimator(classifier, **change)
    nip = NIPPreprocessor.for_estimator(classifier)
    before = nip.parameters
    with pytest.raises(error, match=message):
        nip.set_params(**change)
    assert nip.parameters is before


def test_a_layer_of_fewer_than_ten_neurons_is_refused(framework):
    shape = (1, 28, 28) if framework == "pytorch" else (28, 28, 1)
    model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=4)
    with pytest.raises(ValueError, match="The layer has 4 neurons; NIP needs at least 10"):
        NIPPreprocessor.for_estimator(
            make_classifier(framework, model, nb_classes=4), layer="classifier.4"
        )


def test_an_estimator_without_clip_values_must_be_told(framework, lenet):
    classifier = make_classifier(framework, lenet[framework], clip_values=None)
    with pytest.raises(ValueError, match="has no clip_values, and equation 7 needs them"):
        NIPPreprocessor.for_estimator(classifier)
    assert NIPPreprocessor.for_estimator(classifier, clip_values=(0, 1)).clip_values == (0, 1)


# Images and labels


def test_it_must_be_fitted_first(classifier, images):
    nip = NIPPreprocessor.for_estimator(classifier)
    x = images["test"][0][:2]
    calls = [nip, nip.similarity, nip.retrieve, nip.forward, nip.attach(classifier).predict]
    for call in [*calls, lambda _: nip.candidates, lambda _: nip.save("nowhere")]:
        with pytest.raises(NotFittedError, match="call fit"):
            call(x)
    assert nip.influence(x).shape == (2, 256)


def spoiled(x, value):
    x = x.copy()
    x[0, 0, 0, 0] = value
    return x


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda x: spoiled(x, np.nan), ValueError, "NaN or infinite"),
        (lambda x: spoiled(x, np.inf), ValueError, "NaN or infinite"),
        (lambda x: x * 255, ValueError, "values from 0 to 255, outside the clip_values"),
        (lambda x: spoiled(x, -0.01), ValueError, "values from -0.01 to 1, outside"),
        (lambda x: x[0], ValueError, "look like one image: add a first axis"),
        (lambda x: x[:, :, :27], ValueError, "Images have shape .*; the model takes"),
        (lambda x: np.moveaxis(x, 1, 3) if x.shape[1] == 1 else np.moveaxis(x, 3, 1),
         ValueError, "Check the order of channels"),
        (lambda x: np.repeat(x, 3, axis=1 if x.shape[1] == 1 else 3), ValueError, "model takes"),
        (lambda x: np.array([*x, "x"], object), TypeError, "these have dtype object"),
        (lambda x: x.astype(str), TypeError, "array of numbers; these have dtype <U"),
    ],
)  # fmt: skip
def test_wrong_images_are_refused(nip, classifier, images, spoil, error, message):
    x = spoil(images["test"][0][:5])
    fresh = NIPPreprocessor.for_estimator(classifier, verbose=False)
    for call in (nip, nip.retrieve, nip.influence, fresh.fit):
        with pytest.raises(error, match=message):
            call(x)
    assert not fresh.is_fitted


def test_attacks_on_a_classifier_may_leave_the_range(nip, framework, images):
    x = images["test"][0][:5] * 3 - 1
    tensor = nip._adapter.tensor(x)
    found = nip._adapter.numpy(nip.forward(tensor)[0])
    assert (found.min(), found.max()) == (0, 1)


def test_rounding_outside_the_range_is_no_error(nip, images):
    assert nip(spoiled(images["test"][0][:5], 1 + 1e-6))[0].max() <= 1


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (lambda y: y[:-1], r"Labels have shape \(19,\); for 20 images"),
        (lambda y: y[:, None], r"Labels have shape \(20, 1\)"),
        (lambda y: np.eye(11)[y], r"Labels have shape \(20, 11\)"),
        (lambda y: y + 1, "whole numbers from 0 to 9; these range"),
        (lambda y: y + 0.5, "whole numbers from 0 to 9"),
        (lambda y: np.full((20, 10), 0.1), "a single 1 in each row"),
    ],
)
def test_wrong_labels_are_refused(classifier, images, labels, message):
    x, y = images["bank"][0][:20], np.full(20, 9)
    with pytest.raises(ValueError, match=message):
        NIPPreprocessor.for_estimator(classifier, verbose=False).fit(x, labels(y))


def test_nothing_to_fit_on_is_an_error_that_keeps_the_old_fit(classifier, images):
    nip = fitted(classifier, images)
    x, y = images["bank"][0][:20], images["bank"][1][:20]
    wrong = (classifier.predict(x).argmax(1) + 1) % 10
    with pytest.raises(ValueError, match="fit was given no image"):
        nip.fit(x[:0], y[:0])
    with pytest.raises(ValueError, match="classifies none of the 20 images as labelled"):
        nip.fit(x, wrong)
    with pytest.raises(TypeError, match="x, y and bank only; it was given epochs"):
        nip.fit(x, y, epochs=3)
    assert nip.is_fitted
    assert len(nip.candidates) > 20


def test_no_images_are_no_images(nip, images):
    none = images["test"][0][:0]
    assert nip(none)[0].shape == none.shape
    assert nip.influence(none).shape == (0, 256)
    assert nip.retrieve(none).shape == (0,)
