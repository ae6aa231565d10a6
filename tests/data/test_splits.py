"""Disjoint parts of a data set."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from art_nip import data


@pytest.fixture(scope="module")
def digits():
    return data.mnist()


@given(
    sizes=st.lists(st.integers(4, 30), min_size=1, max_size=4),
    rest=st.sampled_from([0, 4, 17]),
    seed=st.integers(0, 2**32 - 1),
)
def test_split_is_disjoint_and_stratified(sizes, rest, seed):
    y = np.arange(sum(sizes) + rest) % 4
    x = np.arange(len(y))
    parts = data.split(x, y, sizes, seed)
    assert [len(part) for part, _ in parts] == sizes
    taken = np.concatenate([part for part, _ in parts])
    assert len(np.unique(taken)) == len(taken)
    for images, labels in parts:
        np.testing.assert_array_equal(y[images], labels)
        assert np.ptp(np.bincount(labels, minlength=4)) <= 3


def test_split_follows_the_seed(digits):
    (one, _), (same, _), (other, _) = (data.split(*digits, [100], seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_split_shuffles_even_the_last_part():
    y = np.repeat(np.arange(2), 50)
    ((x, _),) = data.split(np.arange(100), y, [100])
    assert (np.diff(x) < 0).any()


@pytest.mark.parametrize("sizes", [[], [11], [9], [6, 5], [1, 9], [-2, 4]])
def test_split_rejects_impossible_sizes(sizes):
    with pytest.raises(
        ValueError, match=r"number of classes \(2\), and all together 10 or at most 8"
    ):
        data.split(np.zeros(10), np.arange(10) % 2, sizes)


def test_split_rejects_different_lengths():
    with pytest.raises(ValueError, match="got 9 images, 10 labels"):
        data.split(np.zeros(9), np.arange(10) % 2, [4])
