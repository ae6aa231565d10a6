"""Retrieval by class evidence: what gives the class, and the steps that make the model say it."""

import copy
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.preprocessor import JpegCompression, SpatialSmoothing
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from art_nip import NIPPreprocessor, zoo
from art_nip.estimators.pass_counting import counting
from art_nip.nip.retrieval import (
    ClassEvidence,
    EstimatorEvidence,
    Evidence,
    EvidenceReader,
    GradedViewEvidence,
    ShallowEvidence,
    ViewEvidence,
)
from art_nip.nip.retrieval.evidence.graded_views import least_lead
from art_nip.nip.retrieval.evidence.lda import Moments, best_temperature
from art_nip.nip.retrieval.evidence.probabilities import lead, softmax
from art_nip.nip.retrieval.evidence.shallow import last_share
from art_nip.nip.retrieval.vectors import pooled
from art_nip.testing import check_preprocessor
from art_nip.zoo import training
from art_nip.zoo.training import Recipe
from tests.helpers import FRAMEWORKS, make_classifier, to_framework
from tests.models import SIDES, TINY_SHAPE, tiny, traces
from tests.nip.test_neurons import every_framework


def fitted(classifier, bank, retrieval="class", **parameters):
    nip = NIPPreprocessor.for_estimator(
        classifier, verbose=False, retrieval=retrieval, **parameters
    )
    nip.fit(*bank)
    return nip


@pytest.fixture(scope="module")
def class_nips(lenet, digits):
    """A NIP with class evidence in each framework; tests leave them as they are."""
    x, y = digits["bank"]
    return {
        framework: fitted(
            make_classifier(framework, lenet[framework]), (to_framework(x, framework), y)
        )
        for framework in FRAMEWORKS
    }


@pytest.fixture
def class_nip(class_nips, framework):
    return class_nips[framework]


@pytest.fixture(scope="module")
def attacked_digits(lenet, digits):
    """Digits attacked with PGD on the PyTorch model, channels first, and their labels."""
    x, y = digits["test"]
    attack = ProjectedGradientDescent(
        make_classifier("pytorch", lenet["pytorch"]),
        eps=0.15, eps_step=0.03, max_iter=10, verbose=False,
    )  # fmt: skip
    return attack.generate(x, y), y


@pytest.fixture
def attacked(attacked_digits, framework):
    x, y = attacked_digits
    return to_framework(x, framework), y


def predictions(classifier, x):
    return classifier.predict(x).argmax(1)


def verdicts(nip, x):
    """Return the model's classes and the evidence's."""
    logits, _ = nip._adapter.logits_and_activations(nip._adapter.tensor(x), ())
    return nip._adapter.numpy(logits).argmax(1), nip.evidence(x).argmax(1)


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
    with pytest.raises(ValueError, match=r"convolutions, and none was called. Name layers: 0, 1"):
        NIPPreprocessor.for_estimator(
            make_classifier("pytorch", dense), layer="1", k1=1, k2=1, retrieval="class"
        )


# Looking at the model


@pytest.mark.parametrize("softmax", [False, True])
def test_the_gradient_of_a_lead_by_hand(framework, softmax):
    """log p_c − log p_r is z_c − z_r, so that a softmax behind the logits changes nothing."""
    shape = TINY_SHAPE[framework]
    classifier = make_classifier(framework, tiny(framework, softmax), shape, 2)
    adapter = NIPPreprocessor.for_estimator(classifier, k1=1, k2=1)._adapter
    x = np.linspace(0.1, 1, 20, dtype=np.float32).reshape(2, *shape)
    w = 2 * np.stack([np.arange(10) / 10, -np.arange(10) / 20])
    found = adapter.numpy(adapter.lead_gradient(adapter.tensor(x), np.array([1, 0])))
    np.testing.assert_allclose(found.reshape(2, 10), [w[1] - w[0], w[0] - w[1]], rtol=1e-3)
    logits, maps = adapter.logits_and_activations(adapter.tensor(x), ())
    expected = x.reshape(2, 10) @ w.T
    difference = np.diff(adapter.numpy(logits), axis=1)
    np.testing.assert_allclose(difference, np.diff(expected, axis=1), rtol=1e-3)
    assert maps == []


def test_the_rival_is_the_strongest_other_class(framework, lenet, images):
    adapter = NIPPreprocessor.for_estimator(make_classifier(framework, lenet[framework]))._adapter
    x = adapter.tensor(images["test"][0][:6])
    logits = adapter.numpy(adapter.logits_and_activations(x, ())[0])
    order = logits.argsort(1)
    top, second = adapter.lead_gradient(x, order[:, -1]), adapter.lead_gradient(x, order[:, -2])
    np.testing.assert_allclose(adapter.numpy(top), -adapter.numpy(second), atol=1e-5)
    expected = np.sort(logits, 1)[:, -1] - np.sort(logits, 1)[:, -2]
    np.testing.assert_allclose(lead(logits, order[:, -1]), expected)
    np.testing.assert_allclose(lead(logits, order[:, -2]), -expected)


def test_nothing_is_left_behind(framework, lenet, images, attacked):
    model = lenet[framework]
    if framework == "pytorch":
        model.train()
    before = traces(framework, model)
    nip = fitted(make_classifier(framework, model), tuple(part[:150] for part in images["bank"]))
    nip(attacked[0][:20])
    assert traces(framework, model) == before
    if framework == "pytorch":
        model.eval()


# What it does to images


def test_images_get_the_class_of_the_evidence(class_nip, classifier, attacked):
    x, y = attacked
    predicted, classes = verdicts(class_nip, x)
    assert np.array_equal(predicted, predictions(classifier, x))
    assert (predicted != y).mean() > 0.5
    defended = class_nip(x)[0]
    assert np.array_equal(predictions(classifier, defended), classes)
    logits = classifier.predict(defended)
    assert (lead(logits, classes)[predicted != classes] >= 1).all()
    # Those that the evidence has right, and it has most.
    assert (predictions(classifier, defended) == y).mean() > 0.6


def test_images_are_left_alone_where_the_evidence_agrees(class_nip, images):
    x = images["test"][0]
    predicted, classes = verdicts(class_nip, x)
    agreed = predicted == classes
    assert agreed.mean() > 0.85
    changed = (class_nip(x)[0] != x).any((1, 2, 3))
    assert np.array_equal(changed, ~agreed)


def test_there_is_no_candidate(class_nip, images):
    assert class_nip.retrieve(images["test"][0][:5]).tolist() == [-1] * 5


def test_steps_are_those_of_the_equation(class_nips, lenet, attacked_digits):
    """Once more from PyTorch's autograd, one image at a time."""
    import torch

    nip, model = class_nips["pytorch"], lenet["pytorch"]
    x = attacked_digits[0][:30]
    predicted, classes = verdicts(nip, x)
    taken = []
    for image, is_class, c in zip(x, predicted == classes, classes.tolist(), strict=True):
        image = torch.from_numpy(image)[None]
        now, added = image.clone(), 0
        for step in range(0 if is_class else 40):
            now.requires_grad_()
            z = model(now)[0]
            ahead = z[c] - torch.cat([z[:c], z[c + 1 :]]).max()
            if ahead >= 1:
                taken.append(step)
                break
            (rho,) = torch.autograd.grad(ahead, now)
            added = added + 0.3 * now.detach().mean() * rho / (rho.max() - rho.min())
            now = (image + added).clip(0, 1)
        found = nip(image.numpy())[0]
        np.testing.assert_allclose(found, now.detach().numpy(), atol=1e-5)
    assert len(taken) > 10
    assert len(set(taken)) > 1


def test_steps_end(class_nip, classifier, attacked):
    x = attacked[0]
    predicted, classes = verdicts(class_nip, x)
    disputed = x[predicted != classes]
    nip = with_steps(class_nip, 1)
    one = nip(disputed)[0]
    adapter = class_nip._adapter
    rho = adapter.numpy(
        adapter.lead_gradient(adapter.tensor(disputed), classes[predicted != classes])
    )
    span = np.ptp(rho, axis=(1, 2, 3), keepdims=True)
    expected = disputed + 0.3 * disputed.mean((1, 2, 3), keepdims=True) * rho / span
    np.testing.assert_allclose(one, np.clip(expected, 0, 1), atol=1e-5)
    assert (predictions(classifier, one) != classes[predicted != classes]).any()


def with_parameters(nip, **parameters):
    """Return a NIP of the same fit with other parameters, on the same graphs of TensorFlow."""
    other = copy.copy(nip)
    other.set_params(**parameters)
    other._adopt(nip._fitted)
    return other


def with_steps(nip, steps):
    return with_parameters(nip, retrieval=replace(nip.retrieval, steps=steps))


def test_pytorch_and_tensorflow_agree(class_nips, attacked_digits):
    ours, theirs = class_nips["pytorch"], class_nips["tensorflow"]
    learned = ours._fitted.learned
    assert sorted(learned) == ["bias.0", "bias.1", "weights.0", "weights.1"]
    for name in ("bias.0", "bias.1"):
        np.testing.assert_allclose(learned[name], theirs._fitted.learned[name], atol=1e-3)
    x = attacked_digits[0]
    images = to_framework(x, "tensorflow")
    assert np.array_equal(verdicts(ours, x)[1], verdicts(theirs, images)[1])
    apart = np.abs(to_framework(ours(x)[0], "tensorflow") - theirs(images)[0])
    apart = apart.reshape(len(x), -1).max(axis=1)
    # Of a few, steps lead past a kink of the model on one side or the other.
    assert np.quantile(apart, 0.98) < 1e-4
    assert apart.max() < 0.02


def test_company_does_not_matter(class_nip, attacked):
    x = attacked[0][:60]
    order = np.random.default_rng(0).permutation(len(x))
    together = class_nip(x)[0]
    np.testing.assert_allclose(class_nip(x[order])[0], together[order], atol=1e-5)
    assert np.array_equal(class_nip(x)[0], together)


def test_strength_scales_what_is_added(class_nip, attacked):
    x = attacked[0][:40]
    whole = class_nip(x)[0]
    half = with_parameters(class_nip, strength=0.5)(x)[0]
    inside = (whole > 0) & (whole < 1)
    np.testing.assert_allclose(half[inside], ((x + whole) / 2)[inside], atol=1e-6)
    assert (np.abs(half - x) <= np.abs(whole - x) + 1e-6).all()
    assert np.array_equal(with_parameters(class_nip, strength=0)(x)[0], x)


def test_steps_stay_in_the_clip_range_that_is_set(class_nip, attacked):
    x = attacked[0][:40] * 0.8
    assert class_nip(x)[0].max() > 0.85
    assert with_parameters(class_nip, clip_values=(0, 0.8))(x)[0].max() <= np.float32(0.8)


def test_a_black_image_stays_black(class_nip, images):
    black = np.zeros_like(images["test"][0][:2])
    assert not class_nip(black)[0].any()


# What it costs


def test_agreement_costs_one_pass(class_nip, classifier, images, attacked):
    x = images["test"][0]
    predicted, classes = verdicts(class_nip, x)
    with counting(classifier) as passes:
        class_nip(x[predicted == classes])
    assert (passes.forward, passes.backward) == ((predicted == classes).sum(), 0)


def test_a_step_costs_a_pass_back_and_two_forwards(class_nip, classifier, attacked):
    x = attacked[0]
    predicted, classes = verdicts(class_nip, x)
    disputed = x[predicted != classes]
    nip = with_steps(class_nip, 1)
    with counting(classifier) as passes:
        nip(disputed)
    assert (passes.forward, passes.backward) == (3 * len(disputed), len(disputed))


# As a part of ART


def test_conformance(class_nip, attacked):
    check_preprocessor(class_nip, attacked[0][:4])


def test_a_saved_one_defends_alike(class_nip, classifier, attacked, tmp_path):
    class_nip.save(tmp_path / "nip.safetensors")
    loaded = NIPPreprocessor.load(tmp_path / "nip.safetensors", classifier)
    assert loaded.retrieval == class_nip.retrieval
    assert np.array_equal(loaded(attacked[0])[0], class_nip(attacked[0])[0])


def test_a_defended_classifier_has_the_class_of_the_evidence(class_nip, classifier, attacked):
    x = attacked[0]
    defended = class_nip.attach(classifier)
    assert np.array_equal(predictions(defended, x), verdicts(class_nip, x)[1])
    gradient = defended.loss_gradient(x[:4], np.eye(10)[attacked[1][:4]])
    assert np.isfinite(gradient).all()
    assert gradient.any()


# The choice


def test_a_name_an_object_and_what_a_file_says_are_one(lenet):
    classifier = make_classifier("pytorch", lenet["pytorch"])

    def chosen(retrieval):
        return NIPPreprocessor.for_estimator(classifier, retrieval=retrieval).retrieval

    assert chosen("class") == chosen(ClassEvidence()) == chosen({"name": "class"})
    assert (
        chosen("class")
        == chosen(ClassEvidence("shallow"))
        == chosen(
            {"name": "class", "evidence": {"name": "shallow", "shrinkage": 0.03}, "steps": 40}
        )
    )
    layers = ["features.1", "features.3:input"]
    assert chosen(
        {"name": "class", "evidence": {"name": "shallow", "layers": layers}, "step": 0.1}
    ) == ClassEvidence(ShallowEvidence(tuple(layers)), step=0.1)
    view = {"name": "SpatialSmoothing", "window_size": 3}
    assert chosen(
        {"name": "class", "evidence": {"name": "views", "defences": [view]}}
    ) == ClassEvidence(ViewEvidence([view]))


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"evidence": "shalow"}, ValueError, "Unknown evidence 'shalow'. Did you mean 'shallow'"),
        ({"evidence": 3}, TypeError, "evidence=3; give a name, one of 'shallow', 'views', 'graded"),
        ({"evidence": {"name": "views", "views": []}}, ValueError, "of evidence 'views' 'views'"),
        ({"steps": 0}, ValueError, "steps=0; give a whole number of at least 1"),
        ({"lead": 0}, ValueError, "lead=0; give a finite number above 0"),
        ({"step": float("nan")}, ValueError, "step=nan; give a finite number above 0"),
    ],
)
def test_a_wrong_parameter_is_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        ClassEvidence(**parameters)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"layers": "features.3"}, TypeError, "layers='features.3'; give a sequence of layers"),
        ({"layers": []}, TypeError, r"layers=\[\]; give a sequence"),
        ({"shrinkage": 0}, ValueError, "shrinkage=0; give a finite number above 0 and at most 1"),
    ],
)
def test_wrong_shallow_evidence_is_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        ShallowEvidence(**parameters)


def test_a_layer_that_is_not_there_is_refused(lenet):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    with pytest.raises(ValueError, match=r"'feature.3' is not in the model. The nearest: feat"):
        NIPPreprocessor.for_estimator(
            classifier, retrieval=ClassEvidence(ShallowEvidence(["features.0", "feature.3"]))
        )


# Fitting


def test_too_few_images_of_each_class_are_refused_and_the_fit_is_kept(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = digits["bank"]
    nip = fitted(classifier, digits["bank"])
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
        fitted(classifier, (x[right[:1]].repeat(8, axis=0), y[right[:1]].repeat(8)))


def test_weak_evidence_warns(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = digits["bank"]
    with pytest.warns(UserWarning, match="the class of only .*% of the benign images held out"):
        fitted(classifier, (x[:90], y[:90]))


def test_the_batch_size_of_the_fit_does_not_matter(class_nip, classifier, images, attacked):
    other = fitted(classifier, images["bank"], batch_size=77)
    for name, array in other._fitted.learned.items():
        np.testing.assert_allclose(array, class_nip._fitted.learned[name], atol=1e-2, rtol=1e-3)
    assert np.array_equal(verdicts(other, attacked[0])[1], verdicts(class_nip, attacked[0])[1])


# Views


def test_views_are_the_mean_over_preprocessors(framework, classifier, images, attacked):
    x = attacked[0]
    channels_first = framework == "pytorch"
    nip = fitted(classifier, tuple(part[:100] for part in images["bank"]), ClassEvidence("views"))
    assert not nip._fitted.learned
    posterior = 0
    for defence in (
        SpatialSmoothing(2, channels_first, clip_values=(0, 1)),
        JpegCompression((0, 1), 75, channels_first),
    ):
        logits = classifier.predict(defence(x.copy())[0])
        posterior = posterior + softmax(logits.astype(np.float64)) / 2
    predicted, classes = verdicts(nip, x)
    assert np.array_equal(classes, posterior.argmax(1))
    assert (classes != predicted).sum() > 5
    assert np.array_equal(predictions(classifier, nip(x)[0]), classes)


def test_views_conform_and_are_saved(classifier, images, attacked, tmp_path):
    retrieval = ClassEvidence(
        ViewEvidence([{"name": "SpatialSmoothing", "window_size": 3}, {"name": "JpegCompression"}])
    )
    bank = tuple(part[:150] for part in images["bank"])
    nip = fitted(classifier, bank, retrieval)
    check_preprocessor(nip, attacked[0][:2])
    nip.save(tmp_path / "nip.safetensors")
    loaded = NIPPreprocessor.load(tmp_path / "nip.safetensors", classifier)
    assert loaded.retrieval == retrieval
    assert np.array_equal(loaded(attacked[0])[0], nip(attacked[0])[0])


def test_views_of_images_that_left_the_range(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    nip = fitted(classifier, digits["bank"], ClassEvidence("views"))
    x = nip._adapter.tensor(digits["test"][0][:4] - 0.1)
    assert nip._adapter.numpy(nip.forward(x)[0]).min() >= 0


@pytest.mark.parametrize(
    ("defences", "error", "message"),
    [
        ([{"name": "SpatialSmothing"}], ValueError, "'SpatialSmothing'. Did you mean 'SpatialS"),
        ([{"window_size": 3}], ValueError, "Unknown ART preprocessor"),
        ([{"name": "SpatialSmoothing", "window": 3}], ValueError, "'window'. Did you mean 'windo"),
        ([{"name": "JpegCompression", "clip_values": 1}], ValueError, "'clip_values'"),
        ([], TypeError, r"defences=\[\]; give a sequence of mappings"),
        (["SpatialSmoothing"], TypeError, "give a sequence of mappings"),
    ],
)
def test_wrong_views_are_refused(defences, error, message):
    with pytest.raises(error, match=message):
        ViewEvidence(defences)


def test_a_value_that_art_refuses_is_refused_at_once(lenet):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    evidence = ViewEvidence([{"name": "SpatialSmoothing", "window_size": 0}])
    with pytest.raises(ValueError, match="window size must be a positive integer"):
        NIPPreprocessor.for_estimator(classifier, retrieval=ClassEvidence(evidence))


FINE = {"name": "JpegCompression", "quality": 90}
COARSE = {"name": "SpatialSmoothing", "window_size": 3}


def test_each_image_gets_one_view_by_how_sure_the_model_is(classifier, images, attacked):
    x, y = attacked[0], attacked[1]
    evidence = GradedViewEvidence([FINE, COARSE], budget=0.02)
    nip = fitted(classifier, images["bank"], ClassEvidence(evidence))
    (sure,) = nip._fitted.learned["leads"]
    logits = classifier.predict(x)
    leads = lead(logits, logits.argmax(1))
    assert 5 < (leads >= sure).sum() < len(x) - 5
    told = {"channels_first": classifier.channels_first, "clip_values": (0.0, 1.0)}
    fine = predictions(classifier, JpegCompression(quality=90, **told)(x.copy())[0])
    coarse = predictions(classifier, SpatialSmoothing(window_size=3, **told)(x.copy())[0])
    assert (fine != coarse).sum() > 5
    expected = np.where(leads >= sure, coarse, fine)
    predicted, classes = verdicts(nip, x)
    assert np.array_equal(classes, expected)
    assert np.array_equal(predictions(classifier, nip(x)[0]), expected)
    assert (expected == y).sum() > (predicted == y).sum()


def test_a_coarse_view_costs_what_the_budget_allows(classifier, images):
    x, y = images["bank"]
    right = predictions(classifier, x) == y
    x, y = x[right], y[right]
    told = {"channels_first": classifier.channels_first, "clip_values": (0.0, 1.0)}
    wrong = predictions(classifier, SpatialSmoothing(window_size=3, **told)(x.copy())[0]) != y
    leads = lead(classifier.predict(x), y)
    allowed = 0.02 * len(x)
    assert wrong.sum() > allowed + 1
    evidence = GradedViewEvidence([FINE, COARSE, COARSE], budget=0.02)
    first, second = fitted(classifier, (x, y), ClassEvidence(evidence))._fitted.learned["leads"]
    assert first == second
    assert 0 < wrong[leads >= first].sum() <= allowed


@given(
    st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=1, max_size=30),
    st.floats(0, 10),
)
def test_the_least_lead_is_the_least(images, allowed):
    leads = np.float32([each[0] + place / 100 for place, each in enumerate(images)])
    wrong = np.array([each[1] for each in images])
    found = least_lead(leads, wrong, allowed)
    assert wrong[leads >= found].sum() <= allowed
    below = leads[leads < found]
    if len(below):
        assert wrong[leads >= below.max()].sum() > allowed


def test_graded_views_conform_and_are_saved(classifier, images, attacked, tmp_path):
    retrieval = ClassEvidence(GradedViewEvidence([FINE, COARSE], budget=0.02))
    nip = fitted(classifier, tuple(part[:150] for part in images["bank"]), retrieval)
    check_preprocessor(nip, attacked[0][:2])
    nip.save(tmp_path / "nip.safetensors")
    loaded = NIPPreprocessor.load(tmp_path / "nip.safetensors", classifier)
    assert loaded.retrieval == retrieval
    assert np.array_equal(loaded(attacked[0])[0], nip(attacked[0])[0])


def test_graded_views_cost_one_pass_where_they_agree(classifier, images):
    nip = fitted(classifier, images["bank"], ClassEvidence("graded views"))
    x = images["test"][0][:40]
    predicted, classes = verdicts(nip, x)
    agreed = x[predicted == classes]
    with counting(classifier) as passes:
        nip(agreed)
    assert (passes.forward, passes.backward) == (2 * len(agreed), 0)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"defences": [{"name": "JpegCompresion"}]}, ValueError, "Did you mean 'JpegCompression'"),
        ({"defences": "JpegCompression"}, TypeError, "defences='JpegCompression'; give a sequence"),
        ({"defences": [FINE]}, ValueError, "give two views or more, or take ViewEvidence"),
        ({"budget": -1}, ValueError, "budget=-1; give a number from 0 to 1"),
        ({"budget": None}, ValueError, "budget=None; give a number"),
    ],
)
def test_wrong_graded_views_are_refused(parameters, error, message):
    with pytest.raises(error, match=message):
        GradedViewEvidence(**parameters)


# Another classifier


@pytest.fixture(scope="module")
def other_model(digits):
    """A small dense model of digits."""
    from torch import nn

    training.seed_weights("pytorch", 1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, 10))
    recipe = Recipe(epochs=3, batch_size=64, bfloat16=False)
    training.train(model, *digits["train"], recipe, verbose=False)
    return model.eval()


@pytest.mark.parametrize("probabilities", [False, True])
def test_another_classifier_decides(lenet, digits, other_model, attacked_digits, probabilities):
    from torch import nn

    model = nn.Sequential(other_model, nn.Softmax(1)) if probabilities else other_model
    other = make_classifier("pytorch", model)
    classifier = make_classifier("pytorch", lenet["pytorch"])
    nip = fitted(classifier, digits["bank"], ClassEvidence(EstimatorEvidence(other)))
    x, y = attacked_digits
    found = predictions(classifier, nip(x)[0])
    assert np.array_equal(found, predictions(other, x))
    assert (found == y).mean() > (predictions(classifier, x) == y).mean() + 0.05
    check_preprocessor(nip, x[:4], skip=["check_deepcopy", "check_pickle"])


def test_a_nip_that_asks_another_classifier_is_not_saved(
    lenet, digits, other_model, attacked_digits, tmp_path
):
    other = make_classifier("pytorch", other_model)
    nip = fitted(
        make_classifier("pytorch", lenet["pytorch"]),
        digits["bank"],
        ClassEvidence(EstimatorEvidence(other)),
    )
    with pytest.raises(ValueError, match=r"cannot be saved: .* fit NIP anew with"):
        nip.save(tmp_path / "nip.safetensors")
    assert not list(tmp_path.iterdir())


def test_a_classifier_that_does_not_fit_is_refused(lenet, other_model):
    classifier = make_classifier("tensorflow", lenet["tensorflow"])
    evidence = EstimatorEvidence(make_classifier("pytorch", other_model))
    with pytest.raises(ValueError, match=r"10 classes of images of shape \(1, 28, 28\); the"):
        NIPPreprocessor.for_estimator(classifier, retrieval=ClassEvidence(evidence))
    with pytest.raises(TypeError, match="takes an ART classifier; Sequential has no predict"):
        EstimatorEvidence(other_model)


# The seam: evidence of another kind


@dataclass(frozen=True)
class Always(Evidence):
    """Says the same class of every image."""

    name: ClassVar[str] = "always"
    label: int = 3

    def learn(self, context, images, labels):
        return {"seen": np.array([sum(len(batch) for batch in images()), len(labels)])}

    def reader(self, context):
        reader = AlwaysReader()
        reader.posterior = context.adapter.tensor(np.eye(10)[[self.label]])
        return reader


class AlwaysReader(EvidenceReader):
    def log_posterior(self, x, logits, maps):
        assert logits.shape == (len(x), 10)
        assert maps == []
        return self.posterior + x[:, :1, 0, 0] * 0


def test_evidence_of_ones_own(classifier, images):
    bank = tuple(part[:100] for part in images["bank"])
    nip = fitted(classifier, bank, ClassEvidence(Always()))
    assert nip._fitted.learned["seen"].tolist() == [len(nip.candidates)] * 2
    x = images["test"][0][:60]
    before, after = predictions(classifier, x), predictions(classifier, nip(x)[0])
    assert (before == 3).mean() < 0.2
    assert (after == 3).mean() > 0.6  # a stroke of light on black is not always enough
    assert np.array_equal(nip(x)[0][before == 3], x[before == 3])
