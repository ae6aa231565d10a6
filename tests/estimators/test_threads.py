"""Several threads that use one model: each gets what it gets alone, and nothing stays behind."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from art_nip import NIPPreprocessor
from art_nip.estimators.base import adapter_for
from art_nip.estimators.pass_counting import counting
from tests.helpers import make_classifier, to_framework
from tests.models import SMALL_SHAPE, small, traces

THREADS = 4

one_at_a_time = threading.Lock()


def slow(framework):
    """Return a model that lets other threads go on in the middle of its passes."""
    if framework == "pytorch":
        import torch
        from torch import nn

        class Slow(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                time.sleep(0.001)
                return x.clone()

            @staticmethod
            def backward(ctx, gradient):
                time.sleep(0.001)
                return gradient

        class Waiting(nn.Module):
            def forward(self, x):
                return Slow.apply(x)

        return nn.Sequential(Waiting(), *small("pytorch"), Waiting()).eval()
    import keras

    class Waiting(keras.layers.Layer):
        def call(self, x):
            time.sleep(0.001)
            return x * 1

    layers = small("tensorflow").layers
    return keras.Sequential([keras.Input(SMALL_SHAPE["tensorflow"]), Waiting(), *layers, Waiting()])


def left_behind(framework, model):
    """Return what looking could leave; ART's own gradients leave `.grad`."""
    if framework == "pytorch":
        model.zero_grad(set_to_none=True)
    return traces(framework, model)


def loss_gradient(classifier, x, y):
    """Return ART's loss gradient, which clears and writes the gradients of the weights.

    Where threads do that at once, PyTorch may crash.
    """
    with one_at_a_time:
        return classifier.loss_gradient(x, y)


@pytest.fixture
def model(framework):
    return slow(framework)


@pytest.fixture
def classifier(framework, model):
    return make_classifier(framework, model, SMALL_SHAPE[framework], 4)


@pytest.fixture
def x(framework):
    x = np.random.default_rng(0).random((32, 3, 16, 16), np.float32)
    return to_framework(x, framework)


def fitted(classifier, x, **parameters):
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False, **parameters)
    nip.fit(x)
    return nip


def at_once(calls):
    """Return what calls return that several threads make at the same time."""
    with ThreadPoolExecutor(THREADS) as pool:
        return [job.result() for job in [pool.submit(call) for call in calls]]


@pytest.mark.parametrize("retrieval", ["similarity", "nearest", "class"])
def test_predictions_defended_and_not_are_right(framework, model, classifier, x, retrieval):
    nip = fitted(classifier, x, retrieval=retrieval)
    defended = nip.attach(classifier)
    y = np.eye(4)[np.zeros(8, int)]
    calls = [
        lambda: defended.predict(x[:8]),
        lambda: classifier.predict(x[:8]),
        lambda: nip.influence(x[:8]),
        lambda: nip(x[8:16])[0],
        lambda: loss_gradient(defended, x[:8], y),
    ]
    before, alone = left_behind(framework, model), [call() for call in calls]
    for found, expected in zip(at_once(calls * 6), alone * 6, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert left_behind(framework, model) == before


def test_adapters_and_fits_made_at_once_are_right(framework, model, classifier, x):
    before = left_behind(framework, model)
    expected = fitted(classifier, x[:16])(x[16:])[0]
    plain = classifier.predict(x)
    calls = [lambda: fitted(classifier, x[:16])(x[16:])[0]] * 6
    found = at_once([*calls, *[lambda: classifier.predict(x)] * 6])
    for defended in found[:6]:
        np.testing.assert_allclose(defended, expected, atol=1e-5)
    for scores in found[6:]:
        np.testing.assert_allclose(scores, plain, atol=1e-5)
    assert left_behind(framework, model) == before


def test_each_thread_counts_its_own_passes(framework, model, classifier, x):
    before = left_behind(framework, model)

    def count(n):
        with counting(classifier) as passes:
            for _ in range(3):
                classifier.predict(x[:n])
            loss_gradient(classifier, x[:n], np.eye(4)[np.zeros(n, int)])
        return passes.forward, passes.backward

    sizes = [1, 2, 3, 5] * 3
    counts = at_once([lambda n=n: count(n) for n in sizes])
    assert counts == [(4 * n, n) for n in sizes]
    assert left_behind(framework, model) == before
    if framework == "tensorflow":
        import tensorflow as tf

        assert not tf.config.functions_run_eagerly()


def test_modes_are_put_back_by_the_last_thread():
    """A model in training mode is in it again, whichever thread ends last."""
    model = slow("pytorch").train()
    classifier = make_classifier("pytorch", model, SMALL_SHAPE["pytorch"], 4)
    a = adapter_for(classifier, "auto", "logit")
    x = a.tensor(np.random.default_rng(0).random((4, 3, 16, 16)))
    before = traces("pytorch", model)
    at_once([lambda: a.influence(x)] * 12)
    assert traces("pytorch", model) == before
    assert all(module.training for module in model.modules())


def test_a_hook_of_another_thread_is_not_called():
    import torch

    from art_nip.estimators.layers import Layer
    from art_nip.estimators.pytorch import passing_through

    model, seen = small("pytorch"), []
    x = torch.zeros(1, 3, 16, 16)
    with passing_through(
        model, Layer("0", "input"), lambda t: seen.append(threading.get_ident()) or t
    ):
        other = threading.Thread(target=model, args=(x,))
        other.start()
        other.join()
        assert not seen
        model(x)
    assert seen == [threading.get_ident()]
