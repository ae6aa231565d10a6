"""On the way of the images TensorFlow computes on the GPU, if there is one."""

import numpy as np
import pytest
import tensorflow as tf

from art_nip import zoo
from art_nip.estimators.tensorflow import TensorFlowAdapter
from art_nip.nip.retrieval.evidence.registry import EVIDENCES
from art_nip.nip.retrieval.registry import RETRIEVALS
from tests.device.placement import Followed
from tests.helpers import make_classifier
from tests.nip.helpers import fitted

RETRIEVALS_AND_EVIDENCE = [
    *RETRIEVALS,
    *({"name": "class", "evidence": evidence} for evidence in EVIDENCES),
]


@pytest.fixture(autouse=True)
def _held_on_device(monkeypatch):
    monkeypatch.setattr(TensorFlowAdapter, "held", lambda self, array: tf.convert_to_tensor(array))


@pytest.mark.parametrize("bank_dtype", ["float32", "uint8"])
@pytest.mark.parametrize("retrieval", RETRIEVALS_AND_EVIDENCE, ids=str)
def test_nip(retrieval, bank_dtype):
    model = zoo.create("lenet5", framework="tensorflow", input_shape=(28, 28, 1), nb_classes=10)
    classifier = make_classifier("tensorflow", model, preprocessing=(0.5, 0.25))
    images = np.random.default_rng(0).random((30, 28, 28, 1), np.float32)
    nip = fitted(classifier, images, np.arange(30) % 10 * 0, retrieval=retrieval, bank_dtype=bank_dtype)
    x = tf.constant(images[:8])
    nip.forward(x)
    followed = Followed(x)
    with followed.watching():
        nip.forward(x)
    assert followed.operations > 10
    assert not list(followed.on_host)
