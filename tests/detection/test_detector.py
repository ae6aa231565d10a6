"""The detector finds adversarial images, at the rate of false positives that was asked for."""

import numpy as np
import pytest
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.detector.evasion import EvasionDetector
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score

from art_nip import NIPPreprocessor, defences
from art_nip.detection import NIPDetector
from tests.helpers import FRAMEWORKS, make_classifier, to_framework


@pytest.fixture(scope="module")
def attacked_digits(lenet, digits):
    """Digits that the model gets right, and what PGD makes of them, channels first."""
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = digits["test"]
    x, y = x[:100], y[:100]
    given = {"eps": 0.15, "eps_step": 0.03, "max_iter": 10, "verbose": False}
    attack = ProjectedGradientDescent(classifier, **given)
    attacked = attack.generate(x, y)
    hit = (classifier.predict(x).argmax(1) == y) & (classifier.predict(attacked).argmax(1) != y)
    return x[hit], attacked[hit]


@pytest.fixture(scope="module")
def detectors(lenet, digits, fitted_nips):
    """A detector by evidence and one by δ in each framework, with their thresholds."""
    x, y = digits["bank"]
    found = {}
    for framework in FRAMEWORKS:
        classifier = make_classifier(framework, lenet[framework])
        nip = NIPPreprocessor.for_estimator(classifier, retrieval="class", verbose=False)
        nip.fit(to_framework(x, framework), y)
        others = to_framework(digits["test"][0][100:], framework)
        found[framework] = (
            NIPDetector(classifier, nip),
            NIPDetector(classifier, fitted_nips[framework], score="similarity"),
        )
        for detector in found[framework]:
            detector.fit(others)
    return found


@pytest.fixture
def detector(detectors, framework):
    return detectors[framework][0]


def test_evidence_tells_adversarial_images_from_benign_ones(detector, attacked_digits, framework):
    benign, attacked = (to_framework(x, framework) for x in attacked_digits)
    report, is_adversarial = detector.detect(attacked)
    assert isinstance(detector, EvasionDetector)
    assert is_adversarial.shape == (len(attacked),)
    assert is_adversarial.dtype == bool
    np.testing.assert_array_equal(is_adversarial, report["scores"] > report["threshold"])
    scores = np.concatenate([detector.scores(benign), report["scores"]])
    truth = np.repeat([0, 1], [len(benign), len(attacked)])
    assert roc_auc_score(truth, scores) > 0.9
    assert is_adversarial.mean() > 0.5
    assert detector.detect(benign)[1].mean() < 0.12


def test_scores_by_hand(detector, framework, digits):
    x = to_framework(digits["test"][0][:40], framework)
    log_p, model = detector.nip.evidence(x), detector.classifier.predict(x).argmax(1)
    expected = [
        max(np.delete(row.astype(np.float64), m)) - row[m]
        for row, m in zip(log_p, model, strict=True)
    ]
    np.testing.assert_allclose(detector.scores(x), expected, rtol=1e-5, atol=1e-5)


def test_similarity_is_minus_delta(detectors, framework, digits):
    detector = detectors[framework][1]
    x = to_framework(digits["test"][0][:10], framework)
    np.testing.assert_allclose(detector.scores(x), -detector.nip.similarity(x))
    with pytest.raises(ValueError, match="δ has no gradient"):
        detector.score_gradient(x)


def test_batches_and_frameworks_give_the_same_scores(detectors, digits):
    x = digits["test"][0][:30]
    found = {
        framework: detectors[framework][0].scores(to_framework(x, framework))
        for framework in FRAMEWORKS
    }
    for scores in found.values():
        np.testing.assert_allclose(scores, found["pytorch"], rtol=1e-3, atol=1e-3)
    one = detectors["pytorch"][0]
    np.testing.assert_allclose(one.scores(x, batch_size=7), found["pytorch"], rtol=1e-4, atol=1e-4)
    report, is_adversarial = one.detect(x[:0])
    assert len(report["scores"]) == len(is_adversarial) == 0
    for framework in FRAMEWORKS:
        nothing = to_framework(x[:0], framework)
        assert detectors[framework][0].score_gradient(nothing).shape == nothing.shape


def test_the_gradient_lowers_the_score(detector, framework, digits):
    """The score is a mean over layers, and the gradient that of a sum: the direction must do."""
    x = to_framework(digits["test"][0][:60], framework)
    step = 0.005 * np.sign(detector.score_gradient(x, batch_size=25))
    before = detector.scores(x)
    lower, higher = (
        detector.scores(np.clip(x - step, 0, 1)),
        detector.scores(np.clip(x + step, 0, 1)),
    )
    assert np.mean(lower < before) > 0.9
    assert np.mean(higher > before) > 0.9


# The threshold


@pytest.mark.parametrize(("rate", "place"), [(0.05, 94), (0.1, 89), (0.5, 49), (0.01, 98)])
def test_the_threshold_leaves_the_stated_share_above(detector, monkeypatch, rate, place):
    """Of n = 99 the ⌈100 (1 − rate)⌉th is taken, as split conformal prediction does."""
    mine = NIPDetector(detector.classifier, detector.nip, false_positive_rate=rate)
    scores = np.random.default_rng(0).permutation(99).astype(float)
    monkeypatch.setattr(mine, "scores", lambda x, batch_size: scores)
    mine.fit(np.zeros((99, *mine.classifier.input_shape)))
    assert mine.threshold == place


def test_rates_of_false_positives_hold_on_other_images(detector, digits, framework):
    x = to_framework(digits["bank"][0], framework)  # more of them than of the test part
    mine = NIPDetector(detector.classifier, detector.nip, false_positive_rate=0.2)
    mine.fit(x[::2])
    found = mine.detect(x[1::2])[1]
    assert 0.1 < found.mean() < 0.3


def test_labels_as_arts_detectors_take_them_leave_adversarial_images_out(
    detector, digits, framework
):
    x = to_framework(digits["test"][0][:60], framework)
    expected = NIPDetector(detector.classifier, detector.nip, false_positive_rate=0.2)
    expected.fit(x[:30])
    labels = np.repeat([0, 1], 30)
    for y in (labels, np.eye(2)[labels]):
        mine = NIPDetector(detector.classifier, detector.nip, false_positive_rate=0.2)
        mine.fit(x, y)
        assert mine.threshold == expected.threshold
    for y in (digits["test"][1][:60], np.full((60, 2), 0.5), np.ones((60, 2)), np.eye(2)[[0]]):
        with pytest.raises(ValueError, match=r"y has shape .* takes no classes of images"):
            mine.fit(x, y)


def test_another_rate_needs_no_new_fit(detector, digits, framework):
    mine = NIPDetector(detector.classifier, detector.nip)
    mine.fit(to_framework(digits["test"][0][:100], framework))
    before = mine.threshold
    mine.set_params(false_positive_rate=0.3)
    assert mine.threshold < before
    assert mine.get_params() == {"false_positive_rate": 0.3}
    with pytest.raises(ValueError, match=r"100 benign images cannot show .* 0\.001: it takes 999"):
        mine.set_params(false_positive_rate=0.001)
    assert mine.false_positive_rate == 0.3
    with pytest.raises(ValueError, match="Unknown parameter 'rate'"):
        mine.set_params(rate=0.1)


# What is refused


def test_what_is_refused(detector, nip, framework, digits):
    classifier, class_nip = detector.classifier, detector.nip
    with pytest.raises(NotFittedError, match=r"call fit\(x_benign\)"):
        NIPDetector(classifier, class_nip).detect(to_framework(digits["test"][0][:2], framework))
    with pytest.raises(ValueError, match=r"5 benign images cannot show a rate .*: it takes 19"):
        NIPDetector(classifier, class_nip).fit(to_framework(digits["test"][0][:5], framework))
    with pytest.raises(TypeError, match="NIPDetector takes a classifier of ART"):
        NIPDetector(classifier.model, class_nip)
    with pytest.raises(TypeError, match="nip is a SpatialSmoothing"):
        NIPDetector(classifier, defences.get("ss").create(classifier))
    with pytest.raises(ValueError, match="has preprocessing defences"):
        NIPDetector(class_nip.attach(classifier), class_nip)
    with pytest.raises(ValueError, match='Only "class" retrieval has evidence'):
        NIPDetector(classifier, nip)
    with pytest.raises(ValueError, match="score"):
        NIPDetector(classifier, class_nip, score="delta")
    for rate in (0, 1, -0.1, "much", np.nan):
        with pytest.raises(ValueError, match="false_positive_rate="):
            NIPDetector(classifier, class_nip, false_positive_rate=rate)
    with pytest.raises(NotFittedError):
        NIPDetector(classifier, NIPPreprocessor.for_estimator(classifier, retrieval="class"))
    with pytest.raises(TypeError, match="not epochs"):
        detector.fit(digits["test"][0], epochs=3)
    with pytest.raises(TypeError, match="not size"):
        detector.detect(digits["test"][0], size=3)
    for x in (None, 3.0, "images", [[1, 2], [3]]):
        with pytest.raises((TypeError, ValueError), match=r"^Images (must|have shape)"):
            detector.fit(x)
    with pytest.raises(ValueError, match="NaN"):
        detector.detect(np.full((1, *classifier.input_shape), np.nan))
    with pytest.raises(ValueError, match="batch_size=0"):
        detector.detect(to_framework(digits["test"][0][:2], framework), batch_size=0)
