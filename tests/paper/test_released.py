"""The released evaluation: what is added, what the label decides, and that it is no defence."""

import numpy as np
import pytest

from art_nip import NIPPreprocessor, attacks
from art_nip.benchmark import Benchmark
from art_nip.paper.released import ReleasedEvaluation, defended_by_own, own_perturbations
from tests.helpers import make_classifier
from tests.models import SMALL_SHAPE, small


@pytest.fixture
def pair(classifier, images):
    """Benign images, all right, and examples just beyond the boundary."""
    x, y = (part[:30] for part in images["test"])
    right = classifier.predict(x).argmax(axis=1) == y
    x, y = x[right], y[right]
    return x, attacks.get("fgsm").create(classifier, minimal=True).generate(x, y)


def moved_by(classifier, monkeypatch, x, x_adv, **parameters):
    """Return what the evaluation has the classifier predict: the benign images, then two moves."""
    seen = []
    predict = classifier.predict
    monkeypatch.setattr(classifier, "predict", lambda x, **_: seen.append(x) or predict(x))
    result = ReleasedEvaluation(**parameters).evaluate(classifier, x, x_adv)
    return seen, result


@pytest.mark.parametrize("direction", ["own", "noise"])
def test_what_is_added(classifier, pair, monkeypatch, direction):
    x, x_adv = pair
    middle = 0.5 + 0 * x_adv  # away from the ends of the range
    seen, _ = moved_by(classifier, monkeypatch, x, middle, direction=direction)
    np.testing.assert_array_equal(seen[0], x)
    np.testing.assert_allclose(seen[1] - middle, middle - seen[2], atol=1e-6)
    added = (seen[1] - middle).reshape(len(x), -1)
    np.testing.assert_allclose(np.sqrt((added**2).mean(axis=1)), 0.001, rtol=1e-3)
    if direction == "own":
        rho = own_perturbations(classifier, x, 1, 5).reshape(len(x), -1)
        cosine = (rho * added).sum(1) / np.linalg.norm(rho, axis=1) / np.linalg.norm(added, axis=1)
        np.testing.assert_allclose(cosine, 1, atol=1e-3)


def test_the_label_picks_the_sign(classifier, pair, monkeypatch):
    x, x_adv = pair
    seen, found = moved_by(classifier, monkeypatch, x, x_adv, step=0.01)
    before, plus, minus = (classifier.predict(images).argmax(axis=1) for images in seen[:3])
    np.testing.assert_array_equal(found.without_label, plus == before)
    np.testing.assert_array_equal(found.with_label, (plus == before) | (minus == before))
    assert found.with_label.mean() > 0.8


def test_the_own_perturbation_is_the_one_that_a_bank_would_hold(classifier, pair):
    x, x_adv = pair
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False, retrieval="nearest")
    nip.fit(x)
    found = nip.retrieve(x_adv) == np.arange(len(x))
    assert found.mean() > 0.9
    np.testing.assert_allclose(
        defended_by_own(classifier, x, x_adv)[found], nip(x_adv)[0][found], atol=1e-5
    )


def test_pictures_count_and_not_their_range(lenet, digits):
    x = digits["test"][0][:20]
    model = lenet["pytorch"]
    shares = make_classifier("pytorch", model)
    bytes_ = make_classifier("pytorch", model, clip_values=(0, 255), preprocessing=(0, 255))
    np.testing.assert_allclose(
        own_perturbations(shares, x), own_perturbations(bytes_, 255 * x), rtol=1e-3, atol=1e-5
    )
    noisy = np.clip(x + 0.1, 0, 1)
    for direction in ("own", "noise"):
        evaluation = ReleasedEvaluation(direction)
        small = evaluation.evaluate(shares, x, noisy)
        large = evaluation.evaluate(bytes_, 255 * x, 255 * noisy)
        np.testing.assert_array_equal(small.with_label, large.with_label)


def test_noise_is_that_of_its_seed(classifier, pair, monkeypatch):
    first, second, other = (
        moved_by(classifier, monkeypatch, *pair, direction="noise", seed=seed)[0][1]
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_it_is_no_defence(classifier, images, tmp_path):
    with pytest.raises(TypeError, match=r"is no defence.*benign version of that very image"):
        ReleasedEvaluation().attach(classifier)
    with pytest.raises(TypeError, match="is no defence"):
        Benchmark(classifier, ["fgsm"], [ReleasedEvaluation()], store=tmp_path)
    with pytest.raises(ValueError, match=r"No defence has the protocol 'released'.*held-out"):
        Benchmark(classifier, ["fgsm"], ["nip"], protocols=["released"], store=tmp_path)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"direction": "onw"}, "own"),
        ({"step": 0}, "step"),
        ({"k1": -1}, "k1"),
        ({"k1": 0, "k2": 0}, "both 0"),
    ],
)
def test_what_is_refused(parameters, message):
    with pytest.raises(ValueError, match=message):
        ReleasedEvaluation(**parameters)


def test_images_that_do_not_pair_up_are_refused(classifier, images):
    x = images["test"][0]
    with pytest.raises(ValueError, match="3 benign and 2 adversarial"):
        ReleasedEvaluation().evaluate(classifier, x[:3], x[:2])
    nothing = ReleasedEvaluation().evaluate(classifier, x[:0], x[:0])
    assert nothing.with_label.shape == (0,)


@pytest.mark.parametrize(
    ("parameters", "clip_values", "error", "message"),
    [
        ({"k1": 15}, (0, 1), ValueError, "k1=15, but the front part has only 14"),
        ({"k2": 10**6}, (0, 1), ValueError, "k2=1000000, but the tail part has only"),
        ({"layer": 3}, (0, 1), TypeError, "layer=3; give a layer's name"),
        ({}, None, ValueError, r"no clip_values, .* give it clip_values=\(min, max\)"),
    ],
)
def test_what_it_cannot_evaluate_is_refused(framework, parameters, clip_values, error, message):
    classifier = make_classifier(
        framework, small(framework), SMALL_SHAPE[framework], 4, clip_values=clip_values
    )
    x = np.zeros((2, *classifier.input_shape), np.float32)
    with pytest.raises(error, match=message):
        ReleasedEvaluation(**parameters).evaluate(classifier, x, x)


def test_a_model_is_no_classifier(framework):
    with pytest.raises(TypeError, match="The released evaluation takes a classifier of ART"):
        ReleasedEvaluation().evaluate(small(framework), np.zeros((2, 3, 16, 16)), None)
