"""Probabilities of models in half precision: known for what they are, and with finite gradients."""

import numpy as np
import pytest

from art_nip.estimators.base import adapter_for
from art_nip.nip.retrieval import EstimatorEvidence
from art_nip.nip.retrieval.context import Context
from tests.helpers import FRAMEWORKS, make_classifier
from tests.models import SMALL_SHAPE, small


def softmaxed(framework, dtype, gain):
    """Return a small model that gives probabilities in a precision, and is sure of its class."""
    if framework == "pytorch":
        import torch
        from torch import nn

        to = getattr(torch, dtype)
        model = small("pytorch", gain)
        return nn.Sequential(*model, nn.Softmax(1)).to(to)
    import keras

    model = small("tensorflow", gain, "float32" if dtype == "float32" else f"mixed_{dtype}")
    return keras.Sequential([*model.layers, keras.layers.Softmax(dtype=dtype)])


def adapted(framework, dtype, gain):
    model = softmaxed(framework, dtype, gain)
    classifier = make_classifier(framework, model, SMALL_SHAPE[framework], 4)
    return adapter_for(classifier, None, "probability")


@pytest.mark.parametrize("gain", [1, 100, 1000])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_gradient_of_a_lead_is_finite_in_float16(framework, gain):
    half, exact = (adapted(framework, dtype, gain) for dtype in ("float16", "float32"))
    x = np.random.default_rng(0).random((16, *SMALL_SHAPE[framework]), np.float32)
    classes = np.arange(16) % 4
    ways = [
        adapter.numpy(adapter.lead_gradient(adapter.tensor(x), classes)).reshape(16, -1)
        for adapter in (half, exact)
    ]
    assert np.isfinite(ways[0]).all()
    if gain == 1:
        cosine = (ways[0] * ways[1]).sum(1) / np.prod(
            [np.linalg.norm(way, axis=1) for way in ways], axis=0
        )
        assert cosine.min() > 0.99


class Sure:
    """A classifier that gives probabilities rounded as half precision rounds them."""

    nb_classes, input_shape, clip_values = 4, (3, 16, 16), (0, 1)

    def __init__(self, outputs):
        self.outputs = np.asarray(outputs, np.float32)

    def predict(self, x):
        return np.resize(self.outputs, (len(x), 4))


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        ([0.9, 0.05, 0.03, 0.02], [0.9, 0.05, 0.03, 0.02]),
        ([0.9, 0.05, 0.03, 0.015], [0.9, 0.05, 0.03, 0.015]),
        ([2.0, 0.0, 0.0, 0.0], np.exp([2, 0, 0, 0]) / np.exp([2, 0, 0, 0]).sum()),
    ],
)
def test_rounded_probabilities_of_evidence_are_not_softmaxed_again(outputs, expected):
    adapter = adapted("pytorch", "float32", 1)
    reader = EstimatorEvidence(Sure(outputs)).reader(Context(adapter, (0, 1), (0.1, 0.8, 0.1)))
    x = adapter.tensor(np.zeros((2, 3, 16, 16)))
    found = adapter.numpy(reader.log_posterior(x, x, []))
    np.testing.assert_allclose(np.exp(found), np.resize(expected, (2, 4)) + 1e-4, rtol=1e-4)


def test_a_single_image_does_not_decide_whether_evidence_gives_probabilities():
    class Logits(Sure):
        def predict(self, x):
            # The logits of the last image sum to 1 by chance.
            return np.concatenate([np.resize([3, -1, 0, 2.0], (len(x) - 1, 4)), [[1, 0, 0, 0]]])

    adapter = adapted("pytorch", "float32", 1)
    context = Context(adapter, (0, 1), (0.1, 0.8, 0.1))
    reader = EstimatorEvidence(Logits([0])).reader(context)
    x = adapter.tensor(np.zeros((1, 3, 16, 16)))
    found = np.exp(adapter.numpy(reader.log_posterior(x, x, [])))
    np.testing.assert_allclose(found[0, 0], np.e / (np.e + 3) + 1e-4, rtol=1e-4)
