"""On the way of the images TensorFlow computes on the GPU, if there is one."""

import numpy as np
import pytest

from art_nip import zoo
from art_nip.nip.bank import DTYPES
from tests.device.helpers import WAYS, name_of
from tests.helpers import make_classifier
from tests.nip.helpers import fitted

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")

from tests.device.placement import Followed  # noqa: E402 - it imports TensorFlow


@pytest.fixture(autouse=True)
def _as_on_gpu(monkeypatch):
    monkeypatch.setattr("art_nip.estimators.tensorflow.memory.on_gpu", lambda: True)


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(0)
    model = zoo.create("lenet5", framework="tensorflow", input_shape=(28, 28, 1), nb_classes=10)
    return make_classifier("tensorflow", model, preprocessing=(0.5, 0.25))


@pytest.mark.filterwarnings("ignore:Early layers")
@pytest.mark.parametrize("bank_dtype", DTYPES)
@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_images_stay_on_the_gpu(classifier, way, bank_dtype):
    images = np.random.default_rng(0).random((60, 28, 28, 1), np.float32)
    nip = fitted(classifier, images, retrieval=way, bank_dtype=bank_dtype)
    x = tf.constant(images[:8])
    followed = Followed(x)
    with followed.watching():
        defended, _ = nip.forward(x)
    assert followed.has_reached(defended)
    assert not list(followed.on_host)


@pytest.mark.parametrize(
    ("compute", "problem"),
    [
        (lambda x: tf.gather(tf.zeros([9, 5], tf.uint8), tf.cast(x, tf.int64)), "no kernel"),
        (lambda x: tf.reduce_sum(tf.cast(x, tf.int32)), "in the memory of the host"),
        (tf.function(lambda x: tf.cast(x, tf.int32) + 1), "in the memory of the host"),
        (tf.function(tf.function(lambda x: tf.strings.as_string(x))), "not in the list"),
    ],
)
def test_what_the_host_computes_is_found(compute, problem):
    x = tf.ones([3])
    followed = Followed(x)
    with followed.watching():
        assert followed.has_reached(x)
        found = compute(x)
    assert followed.has_reached(found)
    assert any(problem in each for each in followed.on_host)


def test_shapes_may_be_computed_by_the_host():
    x = tf.ones([3, 4])
    followed = Followed(x)
    with followed.watching():
        tf.reshape(x, [tf.shape(x)[1], tf.shape(x)[0]])
    assert not followed.on_host
