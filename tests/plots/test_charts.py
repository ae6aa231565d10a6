"""Charts of rates: a point with its interval where it belongs, and one look for a defence."""

from __future__ import annotations

import math

import numpy as np
import pytest

from art_nip import plots
from tests.plots.helpers import png

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


def test_another_form_of_a_defence_looks_like_it_but_hollow():
    values = {"pgd": {"ss": RATE, "nip": RATE, "nip, leaked": RATE}}
    curves = {name: [(0.1, RATE), (0.2, RATE)] for name in values["pgd"]}
    names, hollow = ["none", *values["pgd"]], {"nip, leaked": "nip"}
    for figure in (
        plots.rates(values, names, hollow=hollow),
        plots.sweep(curves, names, hollow=hollow),
    ):
        ss, nip, leaked = (drawn.lines[0] for drawn in figure.axes[0].containers)
        assert leaked.get_color() == nip.get_color() != ss.get_color()
        assert leaked.get_marker() == nip.get_marker()
        assert leaked.get_markerfacecolor() == "white" != nip.get_markerfacecolor()
        assert png(figure).startswith(b"\x89PNG")


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
