"""The figures hold what they were given: captions, sorted bars, parts; and need no display."""

from __future__ import annotations

import io
import math
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


RATE = (0.5, 0.4, 0.6)


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def colours(figure):
    """The colour of each defence in the legend."""
    drawn = [each.lines[0].get_color() for each in figure.axes[0].containers]
    return dict(zip(legend(figure), drawn, strict=True))


def test_rates_stand_at_their_attack_with_their_interval():
    values = {"fgsm": {"nip": (0.5, 0.375, 0.75)}, "pgd": {"nip": (0.25, 0, 0.5), "ss": RATE}}
    (axis,) = plots.rates(values, ["none", "nip", "ss"]).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["fgsm", "pgd"]
    nip, ss = axis.containers
    assert nip.lines[0].get_xdata().tolist() == [0.5, 0.25]
    assert np.round(nip.lines[0].get_ydata()).tolist() == [0, 1]
    assert [line[:, 0].tolist() for line in nip.lines[2][0].get_segments()] == [
        [0.375, 0.75],
        [0, 0.5],
    ]
    assert nip.lines[0].get_ydata()[1] < ss.lines[0].get_ydata()[0]


def test_a_defence_has_one_look_in_all_figures():
    defences = ["none", "nip", "ss", "jpeg"]
    all_rates = plots.rates({"fgsm": dict.fromkeys(defences, RATE)}, defences)
    some_rates = plots.rates({"fgsm": dict.fromkeys(["jpeg", "ss"], RATE)}, defences)
    curves = plots.sweep({"ss": [(0.1, RATE), (0.2, RATE)]}, defences)
    expected = colours(all_rates)
    assert len(set(expected.values())) == 4
    assert legend(some_rates) == ["ss", "jpeg"]
    for figure in (some_rates, curves):
        assert colours(figure).items() <= expected.items()


def test_many_defences_can_be_told_apart():
    defences = [str(number) for number in range(56)]
    figure = plots.rates({"fgsm": dict.fromkeys(defences, RATE)}, defences)
    lines = [each.lines[0] for each in figure.axes[0].containers]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 56


def test_rates_without_a_number_are_left_out():
    nothing = (math.nan, 0.0, 1.0)
    figure = plots.rates({"fgsm": {"nip": nothing, "ss": RATE}}, ["nip", "ss"])
    assert legend(figure) == ["ss"]


@pytest.mark.parametrize("sizes", [(0.2, 0.4, 1.6), (0.1, 0.2, 1.6), (0, 0.1)])
def test_sweep_draws_a_curve_in_the_order_of_the_sizes(sizes):
    points = [(size, (1 - size / 2, 0.1, 0.9)) for size in reversed(sizes)]
    figure = plots.sweep({"nip": points}, ["nip"])
    (axis,) = figure.axes
    assert axis.containers[0].lines[0].get_xdata().tolist() == list(sizes)
    assert axis.get_xticks().tolist() == list(sizes)
    assert axis.get_xlim()[0] < sizes[0] < sizes[-1] < axis.get_xlim()[1]
    assert axis.get_xscale() == ("log" if sizes[0] == 0.1 else "linear")
    assert png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "name", ["_hidden", "$x$", "a $ sign", "a name that takes more than a line"]
)
def test_any_name_can_be_drawn(name):
    figure = plots.rates({name: {name: RATE}}, [name])
    assert "".join(legend(figure)).replace("\n", " ").replace("\\", "") == name
    assert png(figure).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.rates({}, ["nip"]), "nothing to draw"),
        (lambda: plots.sweep({"nip": []}, ["nip"]), "nothing to draw"),
        (lambda: plots.rates({"fgsm": {"ss": RATE}}, ["nip"]), "lacks ss"),
        (lambda: plots.sweep({"ss": [(0.1, RATE)]}, ["nip"]), "lacks ss"),
    ],
)
def test_rates_that_cannot_be_drawn(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


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


def test_plots_say_what_to_install(images, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"to draw: pip install 'art-nip\[benchmark\]'"):
        grid(images)
