"""NIPPreprocessor as a user of ART meets it, in both frameworks."""

import copy
import pickle

import numpy as np
import pytest

from art_nip import (
    NIPPreprocessor,
    NIPPreprocessorPyTorch,
    NIPPreprocessorTensorFlowV2,
    zoo,
)
from art_nip.nip import neurons
from tests.helpers import make_classifier, on_device, to_framework


def fitted(classifier, images, n=100, **parameters):
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False, **parameters)
    nip.fit(images["bank"][0][:n], images["bank"][1][:n])
    return nip


# What it computes


def test_it_is_what_art_chains(nip, framework):
    from art.defences.preprocessor.preprocessor import PreprocessorPyTorch, PreprocessorTensorFlowV2

    classes = {
        "pytorch": (NIPPreprocessorPyTorch, PreprocessorPyTorch),
        "tensorflow": (NIPPreprocessorTensorFlowV2, PreprocessorTensorFlowV2),
    }
    assert isinstance(nip, NIPPreprocessor)
    assert all(isinstance(nip, each) for each in classes[framework])
    assert (nip.apply_fit, nip.apply_predict, nip.is_fitted) == (False, True, True)


def test_the_steps_of_the_paper_lead_to_the_result(nip, images):
    """Equations 1 to 7 once more, from what the fitted object shows."""
    x = images["test"][0][:20]
    influence = nip.influence(x)
    middle = neurons.middle_influence(influence, (0.1, 0.3, 0.6))
    delta = neurons.similarity(middle, nip.neuron_template)
    np.testing.assert_allclose(nip.similarity(x), delta, atol=1e-6)
    closest = np.abs(nip.candidates.similarities[None] - nip.similarity(x)[:, None]).argmin(1)
    retrieved = nip.retrieve(x)
    similarities = nip.candidates.similarities
    assert np.array_equal(similarities[retrieved], similarities[closest])
    rho = nip.candidates.perturbations[retrieved]
    mean = x.mean((1, 2, 3), keepdims=True)
    np.testing.assert_allclose(nip(x)[0], np.clip(x + mean * rho, 0, 1), atol=1e-6)


def test_template_is_the_mean_of_middle_influence_over_all_images(classifier, images):
    x = images["bank"][0][:60]
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False, batch_size=7)
    nip.fit(x, np.zeros(60, int))  # most labels are wrong: these images count in T all the same
    middle = neurons.middle_influence(nip.influence(x), (0.1, 0.3, 0.6))
    np.testing.assert_allclose(nip.neuron_template, middle.mean(0), atol=1e-7)
    assert len(nip.candidates) < 60


def test_candidates_are_the_correctly_classified_images(classifier, images):
    x, y = images["bank"][0][:100], images["bank"][1][:100].copy()
    predicted = classifier.predict(x).argmax(1)
    y[:10] = (y[:10] + 1) % 10
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False, batch_size=30)
    nip.fit(x, y)
    kept = np.flatnonzero(predicted == y)
    assert 50 < len(kept) <= 90
    assert np.array_equal(nip.candidates.labels, y[kept])
    np.testing.assert_allclose(nip.candidates.similarities, nip.similarity(x[kept]), atol=1e-6)
    one_hot = NIPPreprocessor.for_estimator(classifier, verbose=False, batch_size=30)
    one_hot.fit(x, np.eye(10)[y])
    assert np.array_equal(one_hot.candidates.perturbations, nip.candidates.perturbations)
    every = NIPPreprocessor.for_estimator(classifier, verbose=False)
    every.fit(x)
    assert np.array_equal(every.candidates.labels, predicted)


def test_an_image_of_the_bank_finds_its_own_candidate(nip, images):
    x = images["bank"][0]
    scores = nip._adapter.numpy(nip._adapter.outputs(nip._adapter.tensor(x)))
    kept = x[scores.argmax(axis=1) == images["bank"][1]]
    assert len(kept) == len(nip.candidates)
    assert np.mean(nip.retrieve(kept) == np.arange(len(kept))) > 0.98


@pytest.mark.parametrize(("dtype", "worst"), [("uint8", 1 / 510), ("float16", 1e-3)])
def test_small_dtypes_cost_as_much_as_they_say(classifier, images, dtype, worst):
    exact = fitted(classifier, images)
    small = fitted(classifier, images, bank_dtype=dtype)
    assert small.candidates.codes.dtype == dtype
    assert np.ptp(exact.candidates.perturbations, axis=(1, 2, 3)) == pytest.approx(1, abs=1e-5)
    difference = np.abs(small.candidates.perturbations - exact.candidates.perturbations)
    assert 0 < difference.max() <= worst * 1.001
    x = images["test"][0]
    bound = worst * 1.001 * x.mean((1, 2, 3)) + 1e-6
    assert (np.abs(small(x)[0] - exact(x)[0]).max((1, 2, 3)) <= bound).all()


def test_parameters_reach_the_result(classifier, images):
    x = images["test"][0][:10]
    base = fitted(classifier, images)
    none = fitted(classifier, images, strength=0)
    assert np.array_equal(none(x)[0], x)
    for change in (
        {"k1": 0}, {"k2": 1}, {"fractions": (0.2, 0.4, 0.4)}, {"confidence": "logit"},
        {"template": "quorum", "quorum": 0.3}, {"layer": "classifier.2"}, {"strength": 0.5},
        {"retrieval": "nearest"},
    ):  # fmt: skip
        assert not np.array_equal(fitted(classifier, images, **change)(x)[0], base(x)[0]), change


def test_quorum_of_one_is_empty_and_says_so(classifier, images):
    with pytest.raises(ValueError, match=r"template is empty.*largest quorum that is not empty"):
        fitted(classifier, images, n=600, template="quorum", quorum=1)


# Determinism


def test_the_same_fit_gives_the_same_bits(framework, lenet, images):
    runs = []
    for _ in range(2):
        nip = fitted(make_classifier(framework, lenet[framework]), images)
        runs.append((nip.candidates, nip(images["test"][0])[0]))
    for name in ("similarities", "labels", "perturbations"):
        assert np.array_equal(getattr(runs[0][0], name), getattr(runs[1][0], name))
    assert np.array_equal(runs[0][1], runs[1][1])


@pytest.mark.parametrize("batch_size", [1, 17, 128, 600])
def test_the_batch_size_does_not_matter(nip, classifier, images, batch_size):
    other = fitted(classifier, images, n=600, batch_size=batch_size)
    for name in ("similarities", "perturbations"):
        np.testing.assert_allclose(
            getattr(other.candidates, name), getattr(nip.candidates, name), atol=1e-6
        )
    x = images["test"][0]
    np.testing.assert_allclose(other.similarity(x), nip.similarity(x), atol=1e-6)
    np.testing.assert_allclose(other(x)[0], nip(x)[0], atol=1e-6)


def test_pytorch_and_tensorflow_agree(fitted_nips, digits):
    x = digits["test"][0]
    torch_nip, keras_nip = fitted_nips["pytorch"], fitted_nips["tensorflow"]
    images = to_framework(x, "tensorflow")
    np.testing.assert_allclose(torch_nip.similarity(x), keras_nip.similarity(images), atol=1e-4)
    same = torch_nip.retrieve(x) == keras_nip.retrieve(images)
    assert same.mean() >= 0.99
    np.testing.assert_allclose(
        to_framework(torch_nip(x)[0], "tensorflow")[same], keras_nip(images)[0][same], atol=1e-4
    )


# As a preprocessor of ART


def test_attach_makes_a_new_classifier(nip, classifier, images):
    x = images["test"][0][:30]
    before, operations = classifier.predict(x), list(classifier.preprocessing_operations)
    defended = nip.attach(classifier)
    assert isinstance(defended, type(classifier))
    assert defended.model is classifier.model
    assert defended.preprocessing_defences == [nip]
    assert classifier.preprocessing_defences is None
    assert classifier.preprocessing_operations == operations
    np.testing.assert_allclose(defended.predict(x), classifier.predict(nip(x)[0]), atol=1e-5)
    assert np.array_equal(classifier.predict(x), before)
    assert not np.allclose(defended.predict(x), before)


def test_attach_refuses_another_model(nip, framework):
    shape = (1, 28, 28) if framework == "pytorch" else (28, 28, 1)
    other = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=10)
    with pytest.raises(ValueError, match="looks at another model than the classifier has"):
        nip.attach(make_classifier(framework, other))


def test_loss_gradient_through_the_defence_is_the_slope_of_the_loss(framework, digits):
    from tests.models import smooth

    model, _ = smooth(framework)
    classifier = make_classifier(framework, model, preprocessing=(0.1, 0.5))
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(to_framework(digits["bank"][0][:50], framework))
    defended = nip.attach(classifier)
    # Away from 0 and 1, where clipping has kinks, and where no step leaves the range.
    x = 0.45 + 0.2 * to_framework(digits["test"][0][:6], framework)
    y = np.eye(10, dtype=np.float32)[digits["test"][1][:6]]
    gradient = defended.loss_gradient(x, y)
    # The direction in which the equation's mean(x) moves must count too.
    direction = np.sign(np.random.default_rng(0).normal(size=x.shape) + 0.5).astype(np.float32)
    step = 2e-4

    def loss(images):
        logits = defended.predict(images).astype(np.float64)
        return -(logits * y).sum(1) + np.log(np.exp(logits).sum(1))

    chosen = nip.retrieve(x)
    same = np.ones(len(x), bool)
    for s in (step, -step):
        same &= nip.retrieve(x + s * direction) == chosen
    assert same.sum() >= 4
    slope = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    # TensorFlow's classifier averages over the batch no more than PyTorch's does.
    scale = (gradient * direction).sum((1, 2, 3)) / slope
    assert scale[same] == pytest.approx(np.full(same.sum(), scale[same][0]), rel=2e-2)
    assert min(abs(scale[same][0] - 1), abs(scale[same][0] - 1 / len(x))) < 0.02


def test_estimate_gradient_is_the_gradient_of_forward(nip, framework, images):
    x = images["test"][0][:5]
    grad = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    if framework == "pytorch":
        import torch

        t = on_device(x, requires_grad=True)
        out = nip.forward(t)[0]
        (expected,) = torch.autograd.grad(out, t, on_device(grad))
        expected = expected.cpu()
    else:
        import tensorflow as tf

        t = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(t)
            out = nip.forward(t)[0]
        expected = tape.gradient(out, t, tf.convert_to_tensor(grad)).numpy()
    np.testing.assert_allclose(nip.estimate_gradient(x, grad), expected, atol=1e-6)
    per_class = np.stack([grad, 2 * grad, -grad], axis=1)
    np.testing.assert_allclose(
        nip.estimate_gradient(x, per_class)[:, 1], 2 * nip.estimate_gradient(x, grad), atol=1e-6
    )


@pytest.mark.parametrize("first", [False, True])
def test_it_chains_with_native_smoothing(nip, framework, lenet, images, first):
    from art.defences.preprocessor import SpatialSmoothingPyTorch, SpatialSmoothingTensorFlowV2

    smooth = (
        SpatialSmoothingPyTorch(3, channels_first=True)
        if framework == "pytorch"
        else SpatialSmoothingTensorFlowV2(3, channels_first=False)
    )
    x, y = images["test"][0][:8], np.eye(10)[images["test"][1][:8]]
    if first:
        expected = nip(smooth(x)[0])[0]
        smoothing = make_classifier(framework, lenet[framework], preprocessing_defences=smooth)
        defended = nip.attach(smoothing)
    else:
        expected = smooth(nip(x)[0])[0]
        defended = make_classifier(
            framework, lenet[framework], preprocessing_defences=[nip, smooth]
        )
    plain = make_classifier(framework, lenet[framework])
    np.testing.assert_allclose(defended.predict(x), plain.predict(expected), atol=1e-4)
    gradient = defended.loss_gradient(x, y)
    assert gradient.shape == x.shape
    assert np.abs(gradient).max() > 0


def test_it_chains_with_numpy_defences_where_art_does(lenet, digits):
    """Keras classifiers chain anything; the others refuse to mix, and attach says so in time."""
    import keras
    from art.defences.preprocessor import FeatureSqueezing
    from art.estimators.classification import KerasClassifier

    squeeze = FeatureSqueezing((0, 1), bit_depth=3)
    model = lenet["tensorflow"]
    model.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    x = to_framework(digits["test"][0][:8], "tensorflow")
    y = np.eye(10)[digits["test"][1][:8]]
    plain = KerasClassifier(model, clip_values=(0, 1))
    nip = NIPPreprocessor.for_estimator(plain, verbose=False)
    nip.fit(to_framework(digits["bank"][0][:100], "tensorflow"))
    for defences, expected in (
        ([squeeze, nip], nip(squeeze(x)[0])[0]),
        ([nip, squeeze], squeeze(nip(x)[0])[0]),
    ):
        defended = KerasClassifier(model, clip_values=(0, 1), preprocessing_defences=defences)
        np.testing.assert_allclose(
            defended.predict(x), plain.predict(expected.astype(np.float32)), atol=1e-4
        )
        assert defended.loss_gradient(x, y).shape == x.shape
        assert defended.class_gradient(x).shape == (8, 10, 28, 28, 1)


def test_attach_refuses_what_art_cannot_chain(nip, framework, lenet):
    from art.defences.preprocessor import FeatureSqueezing

    squeezing = make_classifier(
        framework, lenet[framework], preprocessing_defences=FeatureSqueezing((0, 1))
    )
    with pytest.raises(ValueError, match="cannot chain NumPy and framework defences"):
        nip.attach(squeezing)
    assert len(squeezing.preprocessing_defences) == 1


def test_training_a_defended_classifier_leaves_the_defence_out(nip, framework, images, lenet):
    defended = nip.attach(make_classifier(framework, lenet[framework]))
    x, _ = defended._apply_preprocessing(images["test"][0][:4], None, fit=True)
    assert np.array_equal(x, images["test"][0][:4])


# Copies


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda nip: pickle.loads(pickle.dumps(nip))])
def test_copies_defend_alike(nip, images, copied):
    x = images["test"][0][:10]
    other = copied(nip)
    assert np.array_equal(other(x)[0], nip(x)[0])
    assert other._adapter.model is not nip._adapter.model


def test_a_defended_pytorch_classifier_can_be_copied(
    fitted_nips, lenet, digits, tmp_path, monkeypatch
):
    monkeypatch.setattr("art.config.ART_DATA_PATH", str(tmp_path))
    defended = fitted_nips["pytorch"].attach(make_classifier("pytorch", lenet["pytorch"]))
    x = digits["test"][0][:10]
    for other in (copy.deepcopy(defended), pickle.loads(pickle.dumps(defended))):
        np.testing.assert_allclose(other.predict(x), defended.predict(x), atol=1e-6)


def test_a_defended_classifier_is_not_cloned_for_refitting(nip, classifier):
    with pytest.raises(NotImplementedError, match="Clone and refit the undefended classifier"):
        nip.attach(classifier).clone_for_refitting()


def test_repr_is_short_and_tells_parameters_and_fit(nip):
    assert "k1=5" in repr(nip)
    assert f"{len(nip.candidates)} candidates of" in repr(nip)
    assert len(repr(nip)) < 500
