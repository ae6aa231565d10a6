"""Figures of images hold what they were given, and need no display."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from art_nip import plots
from tests.plots.helpers import png


@pytest.fixture
def images():
    return np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)


def grid(images, **changes):
    arguments = {
        "labels": [0, 1, 2],
        "predictions": {"benign": [0, 1, 2], "adversarial": [1, 1, 0], "defended": [0, 1, 1]},
    }
    return plots.image_grid(images, images, images, images - 0.5, **{**arguments, **changes})


def test_image_grid_marks_wrong_predictions_without_colour(images):
    captions = [axis.get_title() for axis in grid(images).axes]
    assert captions[:12] == ["0", "✗ 1", "0", "", "1", "1", "1", "", "2", "✗ 0", "✗ 1", ""]


def test_image_grid_names_the_labels(images):
    axes = grid(images, label_names=["cat", "dog", "a name that is too long for a line"]).axes
    assert [axes[i].get_ylabel() for i in (0, 4)] == ["true: cat", "true: dog"]
    assert axes[8].get_title() == "a name that is too\nlong for a line"


def test_image_grid_centres_the_colours_of_rho_on_zero(images):
    (rho,) = grid(images).axes[3].images
    low, high = rho.get_clim()
    assert low == -high == -np.abs(images - 0.5).max()


def test_image_grid_of_constant_rho_can_be_drawn(images):
    predictions = dict.fromkeys(("benign", "adversarial", "defended"), [0] * 3)
    figure = plots.image_grid(
        images, images, images, 0 * images, labels=[0] * 3, predictions=predictions
    )
    assert png(figure).startswith(b"\x89PNG")


def test_image_grid_is_the_same_in_either_channel_order(images):
    colour = np.repeat(images, 3, axis=1)
    last = np.moveaxis(colour, 1, -1)
    assert png(grid(colour)) == png(grid(last, channels_first=False))


def test_image_grid_rejects_arrays_of_different_shapes(images):
    with pytest.raises(ValueError, match="must be images of one shape"):
        plots.image_grid(images, images[:2], images, images, labels=[0] * 3, predictions={})


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": [0, 1]},
        {"predictions": {"benign": [0, 1, 2]}},
        {"predictions": dict.fromkeys(("benign", "adversarial", "defended"), (0,))},
    ],
    ids=["labels", "keys", "lengths"],
)
def test_image_grid_rejects_missing_labels(images, changes):
    with pytest.raises(ValueError, match="one entry for each of 3 images"):
        grid(images, **changes)


def test_adversarial_grid_amplifies_by_a_power_of_two(images):
    small, large = images.copy(), images.copy()
    images[:, :, 0, 0], small[:, :, 0, 0], large[:, :, 0, 0] = 0.25, 0.375, 1.0
    figure = plots.adversarial_grid(images, {"small": small, "large": large, "none": images})
    grid = np.reshape(figure.axes, (4, 6))
    assert [axis.texts[-1].get_text() for axis in grid[1:, -1]] == ["×8", "×1", "no\nchange"]
    differences = [axis.images[0].get_array() for axis in grid[1:, 1]]
    assert [difference[0, 0] for difference in differences] == [1.0, 0.875, 0.5]
    assert all((difference[1:] == 0.5).all() for difference in differences)
    assert [row[0].texts[0].get_text() for row in grid] == ["benign", "small", "large", "none"]


def test_adversarial_grid_is_the_same_in_either_channel_order(images):
    colour = np.repeat(images, 3, axis=1)
    first = plots.adversarial_grid(colour, {"a": 1 - colour})
    last = np.moveaxis(colour, 1, -1)
    second = plots.adversarial_grid(last, {"a": 1 - last}, channels_first=False)
    assert png(first) == png(second)


def test_adversarial_grid_rejects_other_images(images):
    with pytest.raises(ValueError, match=r"one shape.* got \(3, 1, 8, 8\) and .*\(2, 1, 8, 8\)"):
        plots.adversarial_grid(images, {"fgsm": images[:2]})
    with pytest.raises(ValueError, match="one shape"):
        plots.adversarial_grid(images, {})


@pytest.mark.parametrize("change", [lambda x: 255 * x, lambda x: 2 * x - 1])
def test_images_of_another_range_are_refused(images, change):
    other = change(images)
    with pytest.raises(ValueError, match=r"'fgsm' range from .* PixelRange\.of\(clip_values\)"):
        plots.adversarial_grid(images, {"fgsm": other})
    with pytest.raises(ValueError, match=r"'benign' range from .* take those in \[0, 1\]"):
        grid(other)


def test_an_image_that_an_attack_broke_can_be_drawn(images):
    broken = images.copy()
    broken[0, 0, 0, 0] = broken[1] = np.nan
    assert png(plots.adversarial_grid(images, {"fgsm": broken})).startswith(b"\x89PNG")


def test_plots_say_what_to_install(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"to draw: pip install 'art-nip\[benchmark\]'"):
        grid(images)
