"""The figures hold what they were given: captions, sorted bars, parts; and need no display."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest

from art_nip import plots


@pytest.fixture
def images():
    return np.random.default_rng(0).random((3, 1, 8, 8), dtype=np.float32)


def grid(images, **changes):
    arguments = {
        "labels": [0, 1, 2],
        "predictions": {"benign": [0, 1, 2], "adversarial": [1, 1, 0], "defended": [0, 1, 1]},
    }
    return plots.image_grid(images, images, images, images - 0.5, **{**arguments, **changes})


def png(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


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


def test_influence_bars_sort_by_benign_influence():
    benign = np.tile(np.arange(20.0), (4, 1))
    adversarial = np.tile(np.arange(20.0)[::-1], (6, 1))
    (axis,) = plots.influence_bars({"FGSM": (benign, adversarial)}).axes
    heights = [[bar.get_height() for bar in bars] for bars in axis.containers]
    assert heights[0] == pytest.approx(np.arange(20)[::-1] / 19)
    assert heights[1] == pytest.approx(np.arange(20) / 19)


def test_influence_bars_weigh_every_image_alike():
    one, other = np.eye(10)[0], np.eye(10)[1]
    benign = np.stack([1000 * one, other])
    (axis,) = plots.influence_bars({"FGSM": (benign, np.zeros((1, 10)))}).axes
    assert [bar.get_height() for bar in axis.containers[0]] == [0.5, 0.5, *[0] * 8]


def test_influence_bars_mark_the_parts_of_definition_2():
    influence = np.random.default_rng(0).normal(size=(3, 512))
    axis, other = plots.influence_bars(dict.fromkeys("ab", (influence, influence))).axes
    assert axis.get_xticks().tolist() == [0, 51, 205, 512]
    assert [text.get_text() for text in axis.texts] == ["front", "middle", "tail"]
    assert (axis.get_title(), other.get_title()) == ("a", "b")


def test_influence_bars_can_be_drawn():
    influence = np.random.default_rng(0).normal(size=(3, 30))
    figure = plots.influence_bars({"PGD": (influence, -influence)}, title="Influence")
    assert png(figure).startswith(b"\x89PNG")


def test_influence_bars_reject_tables_of_other_neurons():
    with pytest.raises(ValueError, match=r"PGD: .* got shapes \(3, 30\) and \(3, 20\)"):
        plots.influence_bars({"PGD": (np.zeros((3, 30)), np.zeros((3, 20)))})


def test_influence_bars_of_nothing():
    with pytest.raises(ValueError, match="pairs is empty"):
        plots.influence_bars({})


def test_plots_say_what_to_install(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"to draw: pip install 'art-nip\[benchmark\]'"):
        grid(images)
