"""Randomness that can be repeated, and that leaves no trace."""

import random

import numpy as np
import pytest
import torch

from art_nip.utils.seeds import generator, seeded
from tests.helpers import FRAMEWORKS

# ruff: noqa: NPY002 - this is about NumPy's global state


def draws():
    """Draw from everything that ART's attacks and defences may draw from."""
    drawn = [random.random(), np.random.rand(), float(torch.rand(1))]
    if "tensorflow" in FRAMEWORKS:
        import tensorflow as tf

        drawn.append(float(tf.random.uniform([])))
    return drawn


def test_the_same_seed_gives_the_same_draws():
    with seeded(7):
        first = draws()
    with seeded(7):
        again = draws()
    with seeded(8):
        other = draws()
    assert first == again
    assert all(a != b for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_the_smallest_and_the_largest_seed_are_allowed(seed):
    with seeded(seed):
        draws()


@pytest.mark.parametrize("fails", [False, True])
def test_the_global_states_are_given_back(fails):
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    expected = draws()[:3]
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)
    try:
        with seeded(7):
            draws()
            if fails:
                raise ZeroDivisionError
    except ZeroDivisionError:
        pass
    assert draws()[:3] == expected


def test_seeds_may_be_nested():
    with seeded(7):
        draws()
        expected = draws()[:3]
    with seeded(7):
        draws()
        with seeded(8):
            draws()
        assert draws()[:3] == expected


def test_a_generator_with_a_seed_does_not_look_at_the_global_state():
    np.random.seed(1)
    expected = generator(5).random(4)
    np.random.seed(2)
    before = np.random.get_state()[1].copy()
    assert np.array_equal(generator(5).random(4), expected)
    assert np.array_equal(np.random.get_state()[1], before)


def test_a_generator_without_one_follows_the_global_state():
    np.random.seed(1)
    first, second = generator(None).random(4), generator(None).random(4)
    assert not np.array_equal(first, second)
    np.random.seed(1)
    assert np.array_equal(generator(None).random(4), first)
    with seeded(3):
        within = generator(None).random(4)
    with seeded(3):
        assert np.array_equal(generator(None).random(4), within)
