"""Figures of neurons: sorted bars, and the parts of definition 2."""

from __future__ import annotations

import numpy as np
import pytest

from art_nip import plots
from tests.plots.helpers import png


def test_influence_bars_sort_by_benign_influence():
    benign = np.tile(np.arange(20.0), (4, 1))
    adversarial = np.tile(np.arange(20.0)[::-1], (6, 1))
    (axis,) = plots.influence_bars({"FGSM": (benign, adversarial)}).axes
    first, second = (bars.get_data().values for bars in axis.patches)
    assert first == pytest.approx(np.arange(20)[::-1] / 19)
    assert second == pytest.approx(np.arange(20) / 19)


def test_influence_bars_weigh_every_image_alike():
    one, other = np.eye(10)[0], np.eye(10)[1]
    benign = np.stack([1000 * one, other])
    (axis,) = plots.influence_bars({"FGSM": (benign, np.zeros((1, 10)))}).axes
    assert axis.patches[0].get_data().values.tolist() == [0.5, 0.5, *[0] * 8]


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


def test_a_few_neurons_do_not_flatten_the_others():
    influence = np.tile(np.linspace(-1, 1, 3000), (3, 1))
    few = influence / 100
    few[:, :2] = 1
    (axis,) = plots.influence_bars({"AUNA": (few, few)}).axes
    assert axis.get_ylim() == pytest.approx((-0.012, 0.012), rel=0.01)


@pytest.mark.parametrize("sign", [-1, 1])
def test_influence_bars_begin_at_zero(sign):
    influence = sign * np.tile(np.linspace(0.8, 1, 20), (3, 1))
    (axis,) = plots.influence_bars({"PGD": (influence, influence)}).axes
    assert sorted(sign * np.array(axis.get_ylim())) == pytest.approx([-0.1, 1.1])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_influence_bars_show_numbers(value):
    influence = np.ones((3, 30))
    broken = np.where(np.arange(30) == 3, value, influence)
    with pytest.raises(ValueError, match="PGD: influences hold NaN or infinite values"):
        plots.influence_bars({"PGD": (influence, broken)})


def test_influence_bars_reject_tables_of_other_neurons():
    with pytest.raises(ValueError, match=r"PGD: .* got shapes \(3, 30\) and \(3, 20\)"):
        plots.influence_bars({"PGD": (np.zeros((3, 30)), np.zeros((3, 20)))})


def test_influence_bars_of_nothing():
    with pytest.raises(ValueError, match="pairs is empty"):
        plots.influence_bars({})
