"""What is on which device, and what is brought there how often. See `tests/device` for more."""

import numpy as np
import pytest
import torch

from art_nip.estimators.base import adapter_for
from art_nip.estimators.pytorch import adapter as of_pytorch
from art_nip.nip.neurons import ranks
from tests.helpers import make_classifier
from tests.models import SMALL_SHAPE, small
from tests.nip.helpers import fitted

FREE = 10**6


def images(framework, n=4):
    return np.random.default_rng(0).random((n, *SMALL_SHAPE[framework]), np.float32)


def classifier(framework, **keywords):
    return make_classifier(framework, small(framework), SMALL_SHAPE[framework], 4, **keywords)


class Memory:
    """A GPU's memory of FREE bytes that can be allocated, part of it kept by PyTorch."""

    def __init__(self, monkeypatch):
        self.free, moved = FREE // 4, torch.Tensor.to
        for name, value in {
            "mem_get_info": lambda device: (self.free, 10 * FREE),
            "memory_reserved": lambda device: FREE,
            "memory_allocated": lambda device: FREE // 4,
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        cuda = torch.device("cuda", 0)
        monkeypatch.setattr(of_pytorch.PyTorchAdapter, "device", property(lambda self: cuda))
        self.uploads = []

        def to(tensor, device=None, *others, **keywords):
            if device != cuda:
                return moved(tensor, device, *others, **keywords)
            self.uploads.append(tensor.nbytes)
            return moved(tensor, "meta")

        monkeypatch.setattr(torch.Tensor, "to", to)


@pytest.mark.parametrize(("size", "fits"), [(FREE // 2, True), (FREE // 2 + 1, False)])
def test_an_array_fits_if_half_of_what_pytorch_can_allocate_is_enough(size, fits, monkeypatch):
    adapter = adapter_for(classifier("pytorch"), "auto", "probability")
    Memory(monkeypatch)
    held = adapter.held(np.zeros(size, np.uint8))
    assert (held.device.type == "meta") is fits


def test_an_array_moves_to_the_gpu_once_it_fits(monkeypatch):
    adapter = adapter_for(classifier("pytorch"), "auto", "probability")
    memory = Memory(monkeypatch)
    memory.free = 0
    rows = adapter.rows(np.zeros((FREE, 1), np.uint8))
    rows(torch.zeros(2, dtype=torch.int64))
    assert max(memory.uploads) < FREE
    memory.free = 4 * FREE
    rows(torch.zeros(2, dtype=torch.int64))
    assert max(memory.uploads) == FREE


@pytest.mark.parametrize("there", [True, False])
def test_tensorflow_holds_an_array_if_twice_its_size_is_free(there, monkeypatch):
    import tensorflow as tf

    adapter = adapter_for(classifier("tensorflow"), "auto", "probability")
    asked = []

    def zeros(shape, dtype):
        asked.append(int(np.prod(shape)) * dtype.itemsize)
        if not there:
            raise tf.errors.ResourceExhaustedError(None, None, "out of memory")

    monkeypatch.setattr("art_nip.estimators.tensorflow.memory.on_gpu", lambda: True)
    monkeypatch.setattr(tf, "zeros", zeros)
    array = np.arange(1000, dtype=np.float32)
    assert tf.is_tensor(adapter.held(array)) is there
    assert array.nbytes * 2 <= asked[0] <= array.nbytes * 2 + 4


@pytest.mark.parametrize("shape", [(4,), (3, 5, 1), (7,), (1, 1, 2), (28, 28, 1)])
def test_tensorflow_fetches_no_rows_of_bytes_on_a_gpu(shape, monkeypatch):
    import tensorflow as tf

    adapter = adapter_for(classifier("tensorflow"), "auto", "probability")
    monkeypatch.setattr("art_nip.estimators.tensorflow.memory.on_gpu", lambda: True)
    # Every byte, also those that are NaN in a word.
    array = np.random.default_rng(0).integers(0, 256, (300, *shape), np.uint8)
    array[0] = 255
    seen, gather = [], tf.gather
    monkeypatch.setattr(
        tf, "gather", lambda held, indices: seen.append(held.dtype) or gather(held, indices)
    )
    chosen = np.array([0, 299, 0, 17])
    found = adapter.rows(array)(adapter.integers(chosen))
    assert found.dtype == tf.uint8
    np.testing.assert_array_equal(found.numpy(), array[chosen])
    assert seen == [tf.float32]


def test_neurons_are_ranked_in_what_gpus_compare():
    import tensorflow as tf

    influence = np.random.default_rng(0).integers(-2, 3, (8, 50)).astype(np.float32)
    found = ranks(tf.constant(influence))
    assert found.dtype == tf.int64
    order = np.argsort(-influence, axis=1, kind="stable")
    in_order = np.take_along_axis(found.numpy(), order, axis=1)
    np.testing.assert_array_equal(in_order, np.tile(np.arange(50), (8, 1)))


@pytest.mark.parametrize("retrieval", ["similarity", "nearest"])
@pytest.mark.parametrize("bank_dtype", ["float32", "uint8"])
def test_batches_bring_no_constants_to_the_device(retrieval, bank_dtype, monkeypatch):
    given, x = classifier("pytorch", preprocessing=(0.5, 0.25)), images("pytorch", 40)
    nip = fitted(given, x, retrieval=retrieval, bank_dtype=bank_dtype, batch_size=2)
    nip(x[:2])
    brought, from_numpy = [], torch.from_numpy
    monkeypatch.setattr(
        torch, "from_numpy", lambda array: brought.append(array.shape) or from_numpy(array)
    )
    nip(x[:10])
    assert brought == [(2, *x.shape[1:])] * 5


def test_a_model_that_holds_no_tensor_is_where_its_classifier_is(monkeypatch):
    given = classifier("pytorch")
    adapter = adapter_for(given, "auto", "probability")
    monkeypatch.setattr(adapter, "model", torch.nn.Flatten())
    adapter._device_of_estimator = torch.device("meta")
    assert adapter.device.type == "meta"
    buffers = torch.nn.BatchNorm1d(3, affine=False)
    monkeypatch.setattr(adapter, "model", buffers)
    assert adapter.device.type == "cpu"
    buffers.to("meta")
    assert adapter.device.type == "meta"


@pytest.mark.parametrize("retrieval", ["similarity", "nearest", "class"])
def test_tensorflow_traces_the_look_up_once_for_all_sizes_of_batches(retrieval, monkeypatch):
    import tensorflow as tf

    given = classifier("tensorflow")
    x = images("tensorflow", 60)
    nip = fitted(given, x, np.arange(60) % 4 * 0 + given.predict(x).argmax(1), retrieval)
    expected = nip(x)[0]
    traced, function = [], tf.function
    monkeypatch.setattr(
        tf, "function", lambda *given, **named: traced.append(given) or function(*given, **named)
    )
    for size in (1, 7, 60):
        np.testing.assert_allclose(nip(x[:size])[0], expected[:size], atol=1e-6)
    assert not traced


def test_no_tape_records_the_look_up():
    import tensorflow as tf

    adapter = adapter_for(classifier("tensorflow"), "auto", "probability")
    x = tf.constant(images("tensorflow"))
    with tf.GradientTape() as tape:  # it watches all weights that are used
        seen = adapter.influence(x), *adapter.logits_and_activations(x, [adapter.layer])[1]
    assert tape.gradient(seen, adapter.model.trainable_weights) == [None] * 6
