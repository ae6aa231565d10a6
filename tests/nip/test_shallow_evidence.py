"""Evidence of early layers: the discriminant, the vectors it sees, and what it is fitted on."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from art_nip import NIPPreprocessor, zoo
from art_nip.nip.retrieval import (
    ClassEvidence,
    ShallowEvidence,
)
from art_nip.nip.retrieval.evidence.lda import Moments, best_temperature
from art_nip.nip.retrieval.evidence.probabilities import softmax
from art_nip.nip.retrieval.evidence.shallow import last_share
from art_nip.nip.retrieval.vectors import pooled
from tests.helpers import make_classifier
from tests.models import SIDES
from tests.nip.helpers import fitted_on, predictions, verdicts
from tests.nip.test_neurons import every_framework

# The discriminant


def moments(vectors, labels, classes, batches=1):
    found = Moments(classes, vectors.shape[1])
    for rows in np.array_split(np.arange(len(labels)), batches):
        found.add(vectors[rows], labels[rows])
    return found


@settings(max_examples=30)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(3, 6),
    st.integers(2, 12),
    st.sampled_from([0.03, 0.5, 1.0]),
    st.integers(1, 7),
)
def test_the_discriminant_is_that_of_scikit_learn(seed, classes, width, shrinkage, batches):
    rng = np.random.default_rng(seed)
    labels = np.r_[np.arange(classes).repeat(2), rng.integers(0, classes, 20)]
    vectors = (rng.normal(size=(len(labels), width)) + labels[:, None]).astype(np.float32)
    oracle = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
    oracle.fit(vectors.astype(np.float64), labels)
    found = moments(vectors, labels, classes, batches).discriminant(shrinkage)
    np.testing.assert_allclose(found.weights, oracle.coef_.T, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(found.bias, oracle.intercept_, rtol=1e-6, atol=1e-8)


def test_a_class_that_was_not_there_has_probability_0():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 2, 3], 60)
    vectors = (rng.normal(size=(60, 4)) + labels[:, None]).astype(np.float32)
    found = moments(vectors, labels, 5).discriminant(0.1)
    others = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1).fit(vectors, labels)
    probabilities = softmax(found.cooled(3).scores(vectors))
    assert not probabilities[:, [1, 4]].any()
    assert np.array_equal(found.scores(vectors).argmax(1), others.predict(vectors))


def test_without_variance_there_is_no_discriminant():
    vectors = np.eye(3, dtype=np.float32)[[0, 0, 1, 1, 2, 2]]
    with pytest.raises(ValueError, match="alike"):
        moments(vectors, np.arange(6) // 2, 3).discriminant(0.03)


@pytest.mark.parametrize("temperature", [0.5, 1, 7])
def test_the_temperature_is_that_of_the_labels(temperature):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5000, 5)) * 2
    labels = (softmax(logits).cumsum(1) > rng.random((5000, 1))).argmax(1)
    assert best_temperature(logits * temperature, labels) == pytest.approx(temperature, rel=0.1)


def test_the_last_fifth_of_each_class_is_held_out():
    labels = np.array([3] * 4 + [1] * 11 + [0, 1] * 5)
    held = last_share(labels)
    assert held.sum() == 4
    assert not held[labels == 3].any()
    assert np.flatnonzero(held & (labels == 0)).tolist() == [23]
    assert np.flatnonzero(held & (labels == 1)).tolist() == [20, 22, 24]


# Vectors


@every_framework
@pytest.mark.parametrize(("most", "side"), [(2 * 7 * 9, 1), (125, 2), (12, 3), (4, 4), (1, 9)])
def test_pooling_is_just_enough(tensor, most, side):
    maps = np.random.default_rng(0).normal(size=(3, 2, 7, 9)).astype(np.float32)
    rows, columns = 7 // min(side, 7), 9 // min(side, 9)
    cut = maps[:, :, : rows * min(side, 7), : columns * min(side, 9)]
    expected = [
        [square.mean((2, 3)) for square in np.split(row, columns, axis=3)]
        for row in np.split(cut, rows, axis=2)
    ]
    found = np.asarray(pooled(tensor(maps), most))
    assert found.shape == (3, 2, rows, columns)
    np.testing.assert_allclose(found, np.moveaxis(np.array(expected), (2, 3), (0, 1)), atol=1e-6)


@every_framework
def test_vectors_are_not_pooled(tensor):
    vectors = np.arange(40, dtype=np.float32).reshape(2, 1, 20)
    assert np.array_equal(np.asarray(pooled(tensor(vectors), 5)), vectors)


# Layers

EARLY = {
    "lenet5": ("features.3:input", "features.3"),
    "vgg19-small": tuple(f"features.{i}:input" for i in (3, 10, 20, 27)),
    "resnet20": tuple(
        f"features.{i}:input" for i in ("3.body.0", "5.body.3", "9.body.0", "11.body.0")
    ),
    "mobilenet": tuple(f"features.{i}:input" for i in (1, 13, 22, 34)),
}


@pytest.mark.parametrize("name", ["lenet5", "resnet20"])
def test_auto_is_early_layers(framework, name):
    shape = (3, SIDES[name], SIDES[name])
    shape = shape if framework == "pytorch" else (*shape[1:], 3)
    model = zoo.create(name, framework=framework, input_shape=shape, nb_classes=10)
    nip = NIPPreprocessor.for_estimator(make_classifier(framework, model, shape), retrieval="class")
    assert nip.retrieval == ClassEvidence(ShallowEvidence(EARLY[name]))


@pytest.mark.parametrize("name", ["vgg19-small", "mobilenet"])
def test_auto_is_early_layers_of_every_model(name):
    shape = (3, SIDES[name], SIDES[name])
    model = zoo.create(name, input_shape=shape, nb_classes=10)
    nip = NIPPreprocessor.for_estimator(make_classifier("pytorch", model, shape), retrieval="class")
    assert nip.retrieval.evidence.layers == EARLY[name]


def test_auto_without_a_convolution_says_so():
    from torch import nn

    dense = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Linear(20, 10))
    with pytest.raises(
        ValueError, match=r"convolutions that .*, and there is none\. Name layers: 0, 1"
    ):
        NIPPreprocessor.for_estimator(
            make_classifier("pytorch", dense), layer="1", k1=1, k2=1, retrieval="class"
        )


# Fitting


def test_too_few_images_of_each_class_are_refused_and_the_fit_is_kept(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = digits["bank"]
    nip = fitted_on(classifier, digits["bank"])
    before = nip.candidates
    few = np.concatenate([np.flatnonzero(y == label)[:4] for label in range(10)])
    with pytest.raises(ValueError, match=r"at least 5 benign images .* of [0-9]+ none has"):
        nip.fit(x[few], y[few])
    assert nip.candidates is before


def test_images_that_are_all_alike_are_refused(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = digits["bank"]
    right = np.flatnonzero(predictions(classifier, x) == y)
    with pytest.raises(ValueError, match=r"Layer 'features.3:input' tells no class: the images"):
        fitted_on(classifier, (x[right[:1]].repeat(8, axis=0), y[right[:1]].repeat(8)))


def test_weak_evidence_warns(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = digits["bank"]
    with pytest.warns(UserWarning, match="the class of only .*% of the benign images held out"):
        fitted_on(classifier, (x[:90], y[:90]))


def test_the_batch_size_of_the_fit_does_not_matter(class_nip, classifier, images, attacked):
    other = fitted_on(classifier, images["bank"], batch_size=77)
    for name, array in other._fitted.learned.items():
        np.testing.assert_allclose(array, class_nip._fitted.learned[name], atol=1e-2, rtol=1e-3)
    assert np.array_equal(verdicts(other, attacked[0])[1], verdicts(class_nip, attacked[0])[1])
