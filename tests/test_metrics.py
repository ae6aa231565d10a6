"""The rates of the paper's tables, counted by hand, and their intervals against printed ones."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from art_nip import NIPPreprocessor, metrics
from art_nip.metrics import (
    Proportion,
    accuracy,
    attack_success_rate,
    defence_success_rate,
    l2_norm,
    successful,
    wilson_interval,
)
from art_nip.utils.ranges import PixelRange
from tests.helpers import make_classifier, to_framework

# Six images: two right and attacked in vain, three right and turned wrong, one wrong to start with.
LABELS = np.array([0, 1, 0, 1, 2, 2])
BENIGN = np.array([0, 1, 0, 1, 2, 0])
ADVERSARIAL = np.array([0, 1, 1, 0, 0, 1])
# Of the three turned wrong the first is put right; so is the image that never was right.
DEFENDED = np.array([0, 1, 0, 0, 1, 2])

counts = st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
confidences = st.floats(0.01, 0.999)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # R. G. Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_agrees_with_newcombe(successes, n, low, high):
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(counts, confidences)
def test_wilson_interval_contains_the_value_and_stays_in_the_unit_interval(count, confidence):
    successes, n = count
    low, high = wilson_interval(successes, n, confidence)
    assert 0 <= low <= successes / n <= high <= 1


@given(counts, confidences)
def test_wilson_interval_mirrors_when_successes_and_failures_swap(count, confidence):
    successes, n = count
    low, high = wilson_interval(successes, n, confidence)
    assert wilson_interval(n - successes, n, confidence) == pytest.approx((1 - high, 1 - low))


@given(counts, st.integers(2, 50))
def test_wilson_interval_shrinks_with_n(count, factor):
    successes, n = count
    low, high = wilson_interval(successes, n)
    low_more, high_more = wilson_interval(factor * successes, factor * n)
    assert high_more - low_more < high - low


@given(counts, confidences, confidences)
def test_wilson_interval_widens_with_confidence(count, one, other):
    assume(abs(one - other) > 1e-6)
    narrow, wide = (wilson_interval(*count, confidence) for confidence in sorted((one, other)))
    assert wide[0] <= narrow[0] <= narrow[1] <= wide[1]


def test_wilson_interval_of_no_trial_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("arguments", [(3, 2), (-1, 2), (0, -1), (1, 2, 0.0), (1, 2, 1.0)])
def test_wilson_interval_rejects_impossible_counts(arguments):
    with pytest.raises(ValueError, match="between 0 and"):
        wilson_interval(*arguments)


def test_accuracy():
    assert accuracy(LABELS, BENIGN).value == pytest.approx(5 / 6)


def test_only_images_that_were_right_count_as_successful_attacks():
    assert successful(LABELS, BENIGN, ADVERSARIAL).tolist() == [False] * 2 + [True] * 3 + [False]


def test_attack_success_rate_leaves_out_what_was_wrong_already():
    rate = attack_success_rate(LABELS, BENIGN, ADVERSARIAL)
    assert (rate.value, rate.n) == (3 / 5, 5)


def test_defence_success_rate_is_among_the_successful_attacks():
    rate = defence_success_rate(LABELS, BENIGN, ADVERSARIAL, DEFENDED)
    assert (rate.value, rate.n) == (1 / 3, 3)


def test_no_successful_attack_gives_no_defence_success_rate():
    rate = defence_success_rate(LABELS, BENIGN, BENIGN, DEFENDED)
    assert math.isnan(rate.value)
    assert (rate.low, rate.high, rate.n) == (0.0, 1.0, 0)
    assert str(rate) == "n/a (n = 0)"


def test_scores_and_one_hot_rows_count_as_their_class():
    one_hot = np.eye(3)
    rate = defence_success_rate(
        one_hot[LABELS], one_hot[BENIGN] - 5, 7 * one_hot[ADVERSARIAL], DEFENDED
    )
    assert rate == defence_success_rate(LABELS, BENIGN, ADVERSARIAL, DEFENDED)


def test_lengths_must_agree():
    with pytest.raises(ValueError, match="got 6 labels, 6 benign, 5 adversarial"):
        attack_success_rate(LABELS, BENIGN, ADVERSARIAL[:5])


@pytest.mark.parametrize(
    "predictions", [0, np.zeros((6, 1)), np.zeros((6, 2, 2)), np.full(6, 0.7)], ids=np.shape
)
def test_neither_indices_nor_scores(predictions):
    with pytest.raises(ValueError, match="predictions must hold class indices"):
        accuracy(LABELS, predictions)


def test_proportion_prints_percentages():
    assert str(Proportion.of(np.array([True] * 81 + [False] * 182))) == "30.8 % [25.5, 36.6]"


def test_l2_norm_is_per_image_and_does_not_wrap():
    x = np.full((2, 1, 2, 2), 3, dtype=np.uint8)
    x_adv = x.copy()
    x_adv[1, 0, 0] = [0, 7]
    assert l2_norm(x, x_adv).tolist() == [0.0, 5.0]


def test_l2_norm_rejects_different_shapes():
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(2, 4\)"):
        l2_norm(np.zeros((2, 3)), np.zeros((2, 4)))


def test_l0_counts_values_and_not_rounding():
    benign = np.zeros((3, 2, 2, 3), np.float32)
    changed = benign.copy()
    changed[1, 0, 0, :2] = 0.1, -1e-5
    changed[2] = 1e-7
    changed[2, 1, 1, 2] = np.nan
    assert metrics.l0_norm(benign, changed).tolist() == [0, 2, 1]


def test_linf_and_psnr_by_hand():
    benign = np.zeros((3, 2, 2, 1), np.float32)
    changed = benign.copy()
    changed[1, 0, 0] = -0.5
    changed[2] = 0.1
    assert metrics.linf_norm(benign, changed) == pytest.approx([0, 0.5, 0.1])
    # MSE 0.0625 and 0.01.
    assert metrics.psnr(benign, changed) == pytest.approx([np.inf, 12.0412, 20], abs=1e-4)
    assert metrics.psnr(255 * benign, 255 * changed, (0, 255))[1:] == pytest.approx([12.0412, 20])
    assert metrics.psnr(benign[:0], changed[:0]).shape == (0,)
    with pytest.raises(ValueError, match=r"one shape, .* got \(3, 2, 2, 1\) and \(2, 2, 2, 1\)"):
        metrics.psnr(benign, changed[:2])


@pytest.mark.parametrize(
    "measure", [metrics.l0_norm, metrics.l2_norm, metrics.linf_norm, metrics.psnr]
)
@pytest.mark.parametrize("clip_values", [(0, 0), (1, 0), (math.nan, 1), ([[[0]], [[1]]], 1)])
def test_a_range_that_holds_nothing(measure, clip_values):
    with pytest.raises(ValueError, match=r"^clip_values=.*; give the range of the images"):
        measure(np.zeros((1, 2, 2, 2)), np.ones((1, 2, 2, 2)), clip_values)


# The same pictures on other scales

MEAN, STD = np.array([0.4, 0.5, 0.6])[:, None, None], np.array([0.2, 0.3, 0.25])[:, None, None]
RANGES = {
    "0..255": (0, 255),
    "-1..1": (-1, 1),
    "standardised": (-MEAN / STD, (1 - MEAN) / STD),
    "lists": ([[[0.0]], [[-1.0]], [[16.0]]], [[[1.0]], [[1.0]], [[235.0]]]),
}


@pytest.mark.parametrize(
    "measure", [metrics.l0_norm, metrics.l2_norm, metrics.linf_norm, metrics.psnr]
)
@pytest.mark.parametrize("clip_values", RANGES.values(), ids=RANGES)
@given(st.integers(0, 99))
def test_a_measure_does_not_depend_on_the_range(measure, clip_values, seed):
    unit = PixelRange.of(clip_values, np.float64)
    benign, changed = np.random.default_rng(seed).random((2, 4, 3, 5, 6))
    expected = measure(benign, changed)
    found = measure(unit.pixels(benign), unit.pixels(changed), clip_values)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_whole_numbers_of_pixels_have_the_measures_of_their_pictures():
    benign, changed = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4, 3), dtype=np.uint8)
    for measure in (metrics.l0_norm, metrics.l2_norm, metrics.linf_norm, metrics.psnr):
        found = measure(benign, changed, (0, 255))
        np.testing.assert_allclose(found, measure(benign / 255, changed / 255))


@pytest.mark.parametrize("clip_values", [(0, 255), (-1, 1), (-0.42, 2.82)])
def test_top_k_neuron_consistency_does_not_depend_on_the_range(
    framework, lenet, digits, clip_values
):
    rng = np.random.default_rng(0)
    x = to_framework(digits["test"][0][:40], framework)
    noisy = (x + rng.normal(0, 0.3, x.shape)).clip(0, 1).astype(np.float32)
    pixels = PixelRange.of(clip_values)
    classifiers = {
        (0, 1): make_classifier(framework, lenet[framework]),
        clip_values: make_classifier(
            framework,
            lenet[framework],
            clip_values=clip_values,
            preprocessing=(float(pixels.low), float(pixels.span)),
        ),
    }
    shares = []
    for values, classifier in classifiers.items():
        influence = NIPPreprocessor.for_estimator(classifier, verbose=False).influence
        scale = PixelRange.of(values)
        sigmas = [influence(scale.pixels(images)) for images in (x, noisy)]
        shares.append(metrics.top_k_neuron_consistency(*sigmas))
    assert 0.1 < shares[0].mean() < 0.9
    # Rounding may exchange two neurons that are as important as each other.
    assert np.mean(shares[0] == shares[1]) >= 0.97


def test_top_k_neuron_consistency_by_hand():
    benign = [[9, 8, 7, 0, 0], [1, 2, 3, 4, 5], [0, 0, 0, 0, 0]]
    other = [[7, 9, 0, 0, 8], [5, 4, 3, 2, 1], [0, 0, 0, 0, 0]]
    # Sets {0,1,2} and {0,1,4}: 2 of 4; {2,3,4} and {0,1,2}: 1 of 5; ties rank by index.
    assert metrics.top_k_neuron_consistency(benign, other, k=3) == pytest.approx([0.5, 0.2, 1])
    assert metrics.top_k_neuron_consistency(benign, other, k=5) == pytest.approx([1, 1, 1])
    with pytest.raises(ValueError, match="between 1 and the 5 neurons; got 6"):
        metrics.top_k_neuron_consistency(benign, other, k=6)
    with pytest.raises(ValueError, match="one shape"):
        metrics.top_k_neuron_consistency(benign, other[:2])


@pytest.mark.parametrize("clip_values", [None, 255, (0,), ("a", "b")])
def test_what_is_no_range_is_refused(clip_values):
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match="give the range of the images"):
        metrics.psnr(x, x, clip_values)


def test_scores_that_are_nan_are_of_no_class():
    scores = np.array([[np.nan, np.nan], [0.2, 0.1], [np.nan, 3.0]])
    assert metrics.accuracy([0, 0, 1], scores).value == pytest.approx(1 / 3)


@pytest.mark.parametrize("n_classes", [2, 10])
def test_scores_that_prefer_no_class_are_of_none(n_classes):
    """ART's randomized smoothing gives zeros where it abstains, which are not class 0."""
    scores = np.zeros((3, n_classes))
    scores[1, 1] = 1
    assert metrics.predicted_classes(scores).tolist() == [-1, 1, -1]
    assert metrics.predicted_classes(np.full((2, n_classes), 0.3)).tolist() == [-1, -1]
    assert metrics.accuracy([0, 1, 0], scores).value == pytest.approx(1 / 3)
    assert metrics.successful([0, 1, 0], [0, 1, 0], scores).tolist() == [True, False, True]


def test_text_is_no_class_and_half_a_neuron_none():
    with pytest.raises(ValueError, match="labels must hold numbers"):
        metrics.accuracy(["a", "b"], [0, 1])
    with pytest.raises(ValueError, match=r"k=2\.5"):
        metrics.top_k_neuron_consistency(np.ones((1, 9)), np.ones((1, 9)), k=2.5)
