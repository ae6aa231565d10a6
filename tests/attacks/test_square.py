"""Square asks the classifier about no image twice, but where its answers are random."""

import threading
import tracemalloc

import numpy as np
import pytest
import torch
from art.attacks import evasion
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch
from art.estimators.classification import BlackBoxClassifierNeuralNetwork

from art_nip.attacks import SquareAttack
from art_nip.estimators.clones import defended
from art_nip.utils.seeds import seeded
from tests.helpers import make_classifier

PARAMETERS = {"eps": 0.2, "max_iter": 40, "verbose": False}


@pytest.fixture
def counted(classifier):
    """The classifier, and a list of how many images each prediction was of."""
    sizes = []

    class Counted(type(classifier)):
        def predict(self, x, *arguments, **keywords):
            sizes.append(len(x))
            return super().predict(x, *arguments, **keywords)

    classifier.__class__ = Counted
    return classifier, sizes


@pytest.mark.parametrize("norm", [np.inf, 2])
def test_the_examples_are_those_of_art_for_fewer_predictions(counted, images, norm):
    classifier, sizes = counted
    x, y = images["test"][0][:12], images["test"][1][:12]
    parameters = {**PARAMETERS, **({} if norm == np.inf else {"norm": 2, "eps": 2.0})}
    found, predicted = [], []
    for kind in (evasion.SquareAttack, SquareAttack):
        sizes.clear()
        with seeded(0):
            found.append(kind(classifier, **parameters).generate(x, y))
        predicted.append(sum(sizes))
    # Images are predicted in other batches, where some round otherwise.
    same = (found[0] == found[1]).reshape(len(x), -1).all(axis=1)
    assert same.mean() > 0.5
    assert (found[1] != x).any()
    right = [(classifier.predict(each).argmax(axis=1) == y).sum() for each in (x, *found)]
    assert right[1] < right[0]
    assert abs(right[1] - right[2]) <= 1
    assert predicted[1] < predicted[0] / 2


def test_nothing_is_remembered_of_another_run(counted, images):
    classifier, sizes = counted
    x, y = images["test"][0][:4], images["test"][1][:4]
    attack = SquareAttack(classifier, **PARAMETERS)
    runs = []
    for _ in range(2):
        sizes.clear()
        with seeded(0):
            attack.generate(x, y)
        runs.append(list(sizes))
    assert runs[0] == runs[1]
    assert attack.estimator is classifier


class Noisy(PreprocessorPyTorch):
    """A defence that is random for dark images only, or for all."""

    def __init__(self, brightest):
        super().__init__()
        self.brightest = brightest

    def forward(self, x, y=None):
        dark = x.amax((1, 2, 3), keepdim=True) <= self.brightest
        return torch.where(dark, x + 0.3 * torch.rand_like(x), x), y


def test_random_defences_are_asked_as_often_as_art_asks(lenet, digits):
    x, y = digits["test"][0][:6].copy(), digits["test"][1][:6]
    x[:3] *= 0.5
    through = defended(make_classifier("pytorch", lenet["pytorch"]), Noisy(brightest=0.75))
    found = []
    for kind in (evasion.SquareAttack, SquareAttack):
        with seeded(0):
            found.append(kind(through, **PARAMETERS).generate(x, y))
    np.testing.assert_array_equal(*found)


def test_a_defence_that_becomes_random_is_found_out(lenet, digits):
    x, y = digits["test"][0][:6], digits["test"][1][:6]
    late = Noisy(brightest=0.0)
    classifier = make_classifier("pytorch", lenet["pytorch"])
    attack = SquareAttack(defended(classifier, late), **{**PARAMETERS, "eps": 0.01})
    calls = []
    forward = late.forward

    def counting(x, y=None):
        calls.append(len(x))
        late.brightest = 1.0 if len(calls) > 10 else 0.0
        return forward(x, y)

    late.forward = counting
    with seeded(0):
        attack.generate(x, y)
    # From then on all that are left are asked about three times in each query, not once.
    assert len(calls) > 3 * 40 - 2 * 25


def test_threads_share_an_attack(classifier, images):
    x, y = images["test"][0][:4], images["test"][1][:4]
    attack = SquareAttack(classifier, **PARAMETERS)
    inside = threading.Barrier(2, timeout=60)
    loss, seen = attack.loss.__func__, set()

    def waiting(self, x, y):
        if self not in seen:
            seen.add(self)
            inside.wait()
        return loss(self, x, y)

    attack.loss = waiting.__get__(attack)
    threads = [threading.Thread(target=attack.generate, args=(x, y)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 2
    assert attack.estimator is classifier
    assert attack.loss.__self__ is attack


def test_images_themselves_are_not_remembered():
    x = np.random.default_rng(0).random((20, 3, 64, 64), dtype=np.float32)
    held = []

    def scores(images):
        held.append(tracemalloc.get_traced_memory()[0])
        return np.tile(np.float32([[0.6, 0.4]]), (len(images), 1))

    classifier = BlackBoxClassifierNeuralNetwork(
        scores, (3, 64, 64), 2, clip_values=(0.0, 1.0), channels_first=True
    )
    attack = SquareAttack(classifier, eps=0.1, max_iter=10, verbose=False)
    tracemalloc.start()
    try:
        attack.generate(x, np.zeros(len(x), np.int64))
    finally:
        tracemalloc.stop()
    # Four times as many images as are attacked are remembered; ART itself holds some copies.
    assert max(held) < 6 * x.nbytes


@pytest.mark.parametrize("norm", [np.inf, 2])
@pytest.mark.parametrize("sides", [(10, 24), (24, 11), (9, 10), (4, 4), (2, 2), (1, 8)])
def test_images_of_any_sides(framework, sides, norm):
    shape = (1, *sides) if framework == "pytorch" else (*sides, 1)
    weights = np.random.default_rng(0).standard_normal((sides[0] * sides[1], 3))

    def predict(x):
        return x.reshape(len(x), -1) @ weights

    classifier = BlackBoxClassifierNeuralNetwork(
        predict, shape, 3, channels_first=framework == "pytorch", clip_values=(0, 1)
    )
    x = np.random.default_rng(1).random((6, *shape), np.float32)
    y = predict(x).argmax(axis=1)
    eps = 0.3 if norm == np.inf else 0.3 * len(weights) ** 0.5
    attack = SquareAttack(classifier, norm=norm, eps=eps, max_iter=60, verbose=False)
    if min(sides) < (2 if norm == np.inf else 10):
        with pytest.raises(ValueError, match=f"these have {sides[0]}×{sides[1]}: take another"):
            attack.generate(x, y)
        return
    with seeded(0):
        found = attack.generate(x, y)
    moved = np.linalg.norm((found - x).reshape(6, -1), norm, axis=1)
    assert found.shape == x.shape
    assert moved.max() <= eps * (1 + 1e-5)
    assert (predict(found).argmax(axis=1) != y).any()
