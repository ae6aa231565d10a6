"""Images in units of their range: the same pictures on any scale are the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from art_nip.utils.ranges import PixelRange

UNIT = arrays(np.float32, (2, 3, 4, 5), elements=st.floats(0, 1, width=32))
MEAN, STD = np.float32([0.4, 0.5, 0.6])[:, None, None], np.float32([0.2, 0.3, 0.2])[:, None, None]
RANGES = [(0, 1), (0, 255), (-1, 1), ((0 - MEAN) / STD, (1 - MEAN) / STD), (16, 235)]


@pytest.mark.parametrize("clip_values", RANGES, ids=["1", "255", "-1", "standardised", "video"])
@given(unit=UNIT)
def test_pixels_of_any_range_come_back(clip_values, unit):
    pixels = PixelRange.of(clip_values)
    images = pixels.pixels(unit)
    low, high = clip_values
    np.testing.assert_allclose(images, unit * (high - low) + low, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(pixels.unit(images), unit, atol=1e-6)
    assert images.dtype == np.float32


@given(
    st.floats(-1e3, 1e3, width=32),
    st.floats(0.125, 1e3, width=32),
)
def test_the_ends_of_a_range_are_zero_and_one(low, span):
    pixels = PixelRange.of((low, low + span))
    ends = np.float32([low, low + span])
    np.testing.assert_allclose(pixels.unit(ends), [0, 1], atol=1e-3)
    np.testing.assert_allclose(pixels.pixels(np.float32([0, 1])), ends, rtol=1e-4, atol=1e-3)


def test_bounds_of_channels_may_be_lists():
    pixels = PixelRange.of(([[[0]], [[-1]]], [[[1]], [[1]]]))
    images = np.float32([[[[0.5]], [[0.0]]]])
    np.testing.assert_array_equal(pixels.unit(images), np.full((1, 2, 1, 1), 0.5))


def test_tensors_have_a_range_of_tensors():
    pixels = PixelRange.of((-1, 1), lambda bound: torch.tensor(float(bound)))
    unit = pixels.unit(torch.tensor([[-1.0, 0.0, 1.0]]))
    assert unit.tolist() == [[0.0, 0.5, 1.0]]
    assert pixels.pixels(unit).tolist() == [[-1.0, 0.0, 1.0]]
