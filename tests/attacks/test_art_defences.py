"""Gradients of ART's own defences, which it gives as the identity."""

import numpy as np
import pytest
from art.defences.preprocessor import JpegCompression
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import median_filter

from art_nip.attacks import jpeg_gradient
from art_nip.attacks.art_defences import median_gradient
from art_nip.attacks.jpeg_gradient import compressed_gradient, step_tables
from tests.defences.helpers import crops


@given(
    size=st.integers(1, 5),
    shape=st.tuples(*[st.integers(1, 7)] * 2),
    seed=st.integers(0, 1000),
)
def test_the_gradient_of_a_median_is_its_slope(size, shape, seed):
    rng = np.random.default_rng(seed)
    x, weights, way = rng.random((3, 2, 3, *shape))

    def value(images):
        smoothed = median_filter(images, size=(1, 1, size, size), mode="reflect")
        return (weights * smoothed).sum()

    slope = (value(x + 1e-8 * way) - value(x - 1e-8 * way)) / 2e-8
    found = median_gradient(x, weights, size)
    assert found.shape == x.shape
    np.testing.assert_allclose((found * way).sum(), slope, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("quality", [30, 80])
def test_the_gradient_of_jpeg_foretells_what_it_makes_of_a_perturbation(channels, quality):
    rng = np.random.default_rng(0)
    x = 255 * crops(32)[:, :24, :20].transpose(0, 3, 1, 2)
    x = np.floor(np.concatenate([x, x], axis=1)[:, :channels])
    jpeg = JpegCompression((0, 255), quality, channels_first=True)
    added = np.round(rng.normal(0, 3, x.shape)).astype(np.float32)
    other = np.clip(x + added, 0, 255)
    change = jpeg(other)[0] - jpeg(x)[0]
    weights = rng.normal(size=x.shape).astype(np.float32)
    # What the change adds up to, by the gradient in the middle of the way, and by the identity.
    middle = (x + other) / 2
    found = compressed_gradient(middle, weights, quality)
    assert found.shape == x.shape
    assert found.dtype == np.float32
    sums = [(g * (other - x)).sum(axis=(1, 2, 3)) for g in (found, weights)]
    actual = (weights * change).sum(axis=(1, 2, 3))
    by_gradient, by_identity = (np.corrcoef(actual, each)[0, 1] for each in sums)
    assert by_gradient > by_identity + 0.05


def test_without_steps_only_the_colours_of_neighbours_are_lost(monkeypatch):
    monkeypatch.setattr(jpeg_gradient, "of_soft_steps", np.ones_like)
    rng = np.random.default_rng(0)
    x = np.floor(255 * rng.random((2, 3, 16, 32)))
    blocks = rng.normal(size=(2, 3, 8, 16)).repeat(2, axis=2).repeat(2, axis=3)
    np.testing.assert_allclose(compressed_gradient(x, blocks, 50), blocks, atol=1e-5)
    grey = rng.normal(size=(2, 1, 13, 9))
    np.testing.assert_allclose(compressed_gradient(x[:, :1, :13, :9], grey, 50), grey, atol=1e-5)


def test_the_steps_of_jpeg_are_those_of_the_standard():
    luminance, chrominance = step_tables(50)
    np.testing.assert_array_equal(luminance[0], [16, 11, 10, 16, 24, 40, 51, 61])
    np.testing.assert_array_equal(chrominance[:, 0], [17, 18, 24, 47, 99, 99, 99, 99])
