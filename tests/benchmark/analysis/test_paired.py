"""Rates over the same images are compared image by image."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from art_nip.benchmark.analysis.paired import PairedDifference, _power, holm, images_needed
from art_nip.benchmark.analysis.worst_case import Outcome, differences
from art_nip.benchmark.schema.words import Protocol


def hits(both, won, lost, neither):
    """Return two masks, given of how many images both are right, the first, the second, none."""
    first = np.repeat([True, True, False, False], (both, won, lost, neither))
    second = np.repeat([True, False, True, False], (both, won, lost, neither))
    return first, second


@pytest.mark.parametrize(
    ("counts", "difference", "low", "high"),
    [
        # Cavo et al. (2012) and Bentur et al. (2009), in Fagerland, Lydersen and Laake's book
        # "Statistical Analysis of Contingency Tables" and its R package contingencytables.
        ((59, 6, 16, 80), -0.0621, -0.1195, -0.0032),
        # The example of `ci.prop.ps` in Bonett's R package statpsych.
        ((6, 26, 4, 12), 22 / 48, 0.2548067, 0.6251933),
    ],
)
def test_published_intervals(counts, difference, low, high):
    found = PairedDifference.of(*hits(*counts))
    assert found.n == sum(counts)
    np.testing.assert_allclose(
        (found.value, found.low, found.high), (difference, low, high), atol=5e-5
    )


@pytest.mark.parametrize(
    ("counts", "p"),
    [
        ((1, 1, 7, 12), 0.0703),  # Fagerland, Lydersen and Laake, BMC Med. Res. Methodol. 13 (2013)
        ((59, 6, 16, 80), 0.0525),
        ((794, 86, 150, 570), 3.7e-5),  # Agresti's approval ratings, in the R package exact2x2
        ((5, 0, 0, 5), 1.0),
    ],
)
def test_published_tests(counts, p):
    assert PairedDifference.of(*hits(*counts)).p == pytest.approx(p, rel=0.02)


@given(*[st.integers(0, 40)] * 4)
def test_an_interval_holds_the_difference_and_turns_with_it(both, won, lost, neither):
    if both + won + lost + neither == 0:
        return
    first, second = hits(both, won, lost, neither)
    there, back = PairedDifference.of(first, second), PairedDifference.of(second, first)
    assert -1 <= there.low <= there.value <= there.high <= 1
    assert there.low < there.high
    assert there.p == back.p
    np.testing.assert_allclose((back.low, back.value), (-there.high, -there.value))


@pytest.mark.parametrize("shapes", [(3, 4), (0, 0)])
def test_other_images_are_refused(shapes):
    with pytest.raises(ValueError, match="same images"):
        PairedDifference.of(*(np.ones(n, bool) for n in shapes))


def test_holm():
    # The example of Wikipedia's article on the method.
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1, 1])
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_the_power_is_that_of_many_draws():
    rng = np.random.default_rng(0)
    won, lost, _ = rng.multinomial(60, (0.25, 0.05, 0.7), 2000).T
    found = [
        pairs > 0 and binomtest(wins, pairs).pvalue <= 0.05
        for wins, pairs in zip(won, won + lost, strict=True)
    ]
    assert _power(60, 0.2, 0.3) == pytest.approx(np.mean(found), abs=0.03)


def test_the_least_number_of_images():
    n = images_needed(0.03, 0.1)
    assert _power(n, 0.03, 0.1) >= 0.8 > _power(n - 1, 0.03, 0.1)
    # The normal approximation of Connor, Biometrics 43 (1987), knows no steps and is lower.
    assert 870 < n < 1.1 * 870
    # All discordant images are won: six are the fewest that show anything.
    assert images_needed(1, 1) == 6


@pytest.mark.parametrize("wrong", [(0, 0.1), (0.2, 0.1), (0.1, 1.5)])
def test_shares_that_cannot_be(wrong):
    with pytest.raises(ValueError, match="the difference must be"):
        images_needed(*wrong)


def outcome(suite, defence, robust):
    return Outcome(suite, defence, Protocol.HELD_OUT, 0.1, ~robust, {}, {}, {})


def test_worst_cases_are_compared_with_none_of_their_suite():
    better, bare = hits(10, 9, 0, 1)
    worse = ~np.arange(20).astype(bool)
    suites = [
        outcome("small", "none", bare),
        outcome("small", "better", better),
        outcome("small", "same", bare),
        outcome("small", "worse", worse),
        outcome("large", "better", better),
        outcome("other", "none", worse),
        outcome("other", "better", better),
    ]
    found = {(each.suite, each.defence): difference for each, difference in differences(suites)}
    assert set(found) == {
        ("small", "better"),
        ("small", "same"),
        ("small", "worse"),
        ("other", "better"),
    }
    assert found["small", "better"].value == 0.45
    # Nine of nine and none of nine discordant images are won: the smallest p, times three.
    assert found["small", "better"].p == pytest.approx(3 * 2 / 2**9)
    assert found["small", "worse"].p == pytest.approx(3 * 2 / 2**9)
    assert found["small", "same"].p == 1
    assert found["other", "better"].p == pytest.approx(2 / 2**18)
