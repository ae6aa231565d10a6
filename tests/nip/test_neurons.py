"""The paper's maths against definitions written out slowly, in every framework."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from art_nip.nip import neurons
from art_nip.nip.retrieval.similarity import borders
from art_nip.nip.template import NeuronTemplate
from art_nip.utils.arrays import namespace
from art_nip.utils.ranges import PixelRange

FRACTIONS = (0.1, 0.3, 0.6)

# Few distinct values, so that ties (dead neurons) are common.
influences = arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(10, 40)),
    elements=st.sampled_from([-2.0, -0.5, -0.0, 0.0, 1e-30, 0.25, 0.5, 3.0]),
)


def as_numpy(x):
    return x


def as_torch(x):
    import torch

    return torch.from_numpy(np.ascontiguousarray(x))


def as_tensorflow(x):
    import tensorflow as tf

    return tf.convert_to_tensor(x)


every_framework = pytest.mark.parametrize("tensor", [as_numpy, as_torch, as_tensorflow])


def ranked(row):
    """Return neuron indices by influence, descending; ties by index."""
    return sorted(range(len(row)), key=lambda j: (-row[j], j))


@every_framework
@given(influences)
def test_parts_are_those_of_a_stable_ranking(tensor, influence):
    parts = neurons.front_middle_tail(tensor(influence), FRACTIONS)
    n = influence.shape[1]
    front_end, middle_end = round(0.1 * n), round(0.4 * n)
    for i, row in enumerate(influence):
        order = ranked(row)
        expected = order[:front_end], order[front_end:middle_end], order[middle_end:]
        for mask, indices in zip(parts, expected, strict=True):
            assert set(np.flatnonzero(np.asarray(mask)[i])) == set(indices)


@every_framework
@given(influences, st.integers(0, 5), st.integers(0, 5))
def test_weights_mark_the_first_and_the_last_neurons(tensor, influence, k1, k2):
    weights = np.asarray(neurons.perturbation_weights(tensor(influence), k1, k2))
    for row, w in zip(influence, weights, strict=True):
        order = ranked(row)
        expected = np.zeros(len(row))
        expected[order[:k1]] = 1
        expected[order[len(order) - k2 :]] = -1
        assert np.array_equal(w, expected)


@every_framework
@given(influences)
def test_similarity_is_the_cosine_and_zero_for_a_zero_vector(tensor, influence):
    template = influence[0]
    found = np.asarray(neurons.similarity(tensor(influence), tensor(template)))
    rows, t = influence.astype(np.float64), template.astype(np.float64)
    for row, value in zip(rows, found, strict=True):
        norms = np.linalg.norm(row) * np.linalg.norm(t)
        assert value == pytest.approx(row @ t / norms if norms else 0, abs=1e-5)


@every_framework
def test_similarity_survives_the_influence_of_a_model_sure_of_itself(tensor):
    tiny = np.array([[3e-25, 4e-25], [3e-25, 4e-25]], np.float32)
    found = neurons.similarity(tensor(tiny), tensor(np.array([1e-30, 0], np.float32)))
    assert np.asarray(found) == pytest.approx([0.6, 0.6], abs=1e-6)


perturbations = arrays(
    np.float32, (2, 2, 3), elements=st.floats(-4, 4, width=16, allow_subnormal=False)
)


@every_framework
@given(perturbations)
def test_normalised_has_range_one_or_is_zero(tensor, perturbation):
    found = np.asarray(neurons.normalised(tensor(perturbation)))
    for row, result in zip(perturbation, found, strict=True):
        spread = np.ptp(row)
        if spread > 1e-4 * np.abs(row).max():
            assert np.ptp(result) == pytest.approx(1, rel=1e-3)
            np.testing.assert_allclose(result * spread, row, rtol=1e-5, atol=1e-6)
        else:
            assert not result.any()


@every_framework
@given(
    arrays(np.float32, (2, 2, 3), elements=st.floats(0, 1, width=16)),
    perturbations,
    st.floats(0, 2, width=16),
)
def test_equation_7(tensor, x, perturbation, strength):
    unit = PixelRange.of((0.0, 1.0), lambda bound: tensor(np.float32([bound])))
    found = neurons.defended(tensor(x), tensor(perturbation), strength, unit)
    mean = x.astype(np.float64).mean(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(
        np.asarray(found), np.clip(x + strength * mean * perturbation, 0, 1), atol=1e-5
    )


def test_equation_7_by_hand():
    x = np.array([[0.2, 0.4], [0.6, 0.8]], np.float32)[None]  # mean 0.5
    rho = neurons.normalised(np.array([[1.0, -3.0], [0.0, 1.0]], np.float32)[None])  # range 4
    found = neurons.defended(x, rho, 1, PixelRange.of((0, 1)))
    assert found.ravel() == pytest.approx([0.325, 0.025, 0.6, 0.925])


@pytest.mark.parametrize("n", [1, 9])
def test_too_few_neurons_for_three_parts(n):
    with pytest.raises(ValueError, match=f"has {n} neurons; NIP needs at least 10"):
        neurons.part_ends(n, FRACTIONS)


@every_framework
@given(
    arrays(np.float32, st.integers(1, 20), elements=st.floats(-1, 1, width=16)),
    arrays(np.float32, st.integers(1, 5), elements=st.floats(-1, 1, width=16)),
)
def test_borders_find_the_nearest(tensor, similarities, values):
    ascending, values = np.sort(similarities), np.append(values, np.float32("nan"))
    between, given = tensor(borders(ascending)), tensor(values)
    found = np.asarray(namespace(given).searchsorted(between, given))
    assert 0 <= found[-1] < len(ascending)
    for value, position in zip(values[:-1], found, strict=False):
        assert ascending[position] == ascending[np.argmin(np.abs(ascending - value))]


@given(arrays(np.float32, 2, elements=st.floats(-1, 1, width=16)))
def test_a_border_is_the_last_number_that_is_not_nearer_to_the_next(similarities):
    ascending = np.sort(similarities)
    (border,) = borders(ascending)

    def is_nearer_to_high(value):
        low, given, high = (
            Fraction(float(number)) for number in (ascending[0], value, ascending[1])
        )
        return high - given < given - low

    assert not is_nearer_to_high(border)
    assert is_nearer_to_high(np.nextafter(border, np.float32(np.inf)))


def test_template_mean_and_quorum():
    template = NeuronTemplate(3)
    middle = np.array([[1, 0, 2], [3, 0, 0]], np.float32)
    template.add(middle, middle > 0)
    template.add(np.array([[2, 6, 0]], np.float32), np.array([[True, True, False]]))
    assert template.mean() == pytest.approx([2, 2, 2 / 3])
    assert template.of_quorum(1) == pytest.approx([2, 0, 0])
    assert template.of_quorum(0.3) == pytest.approx([2, 2, 2 / 3])


def test_an_empty_quorum_names_the_largest_that_is_not():
    template = NeuronTemplate(2)
    template.add(np.eye(2, dtype=np.float32), np.eye(2, dtype=bool))
    with pytest.raises(ValueError, match=r"template is empty.*largest quorum.*is 0\.5"):
        template.of_quorum(1)
