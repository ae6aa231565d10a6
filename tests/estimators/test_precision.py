"""Other precisions and modes of PyTorch: NIP sees the same, or says what is wrong."""

import numpy as np
import pytest

from art_nip import NIPPreprocessor
from art_nip.estimators.base import adapter_for
from tests.helpers import autocast, make_classifier, on_device, on_host_only, to_framework
from tests.models import SMALL_SHAPE, small


def wrapped(model, before, half=False):
    import torch

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
                return self.inner(before(x)).float()

    return Wrapped()


def in_precision(name):
    """Return a small PyTorch model of fixed weights that works in a precision."""
    model = small("pytorch")
    return {
        "float": lambda: model,
        "double": model.double,
        "half": model.half,
        "half inside": lambda: wrapped(model.half(), lambda x: x.half()),
        "bfloat16": model.bfloat16,
        "bfloat16 inside": lambda: wrapped(model.bfloat16(), lambda x: x.bfloat16()),
        "autocast inside": lambda: wrapped(model, lambda x: x, half=True),
    }[name]()


def adapter(model, confidence="probability", framework="pytorch"):
    classifier = make_classifier(framework, model, SMALL_SHAPE[framework], 4)
    return adapter_for(classifier, "auto", confidence)


def pictures(n, framework="pytorch"):
    x = np.random.default_rng(0).random((n, 3, 16, 16), np.float32)
    return to_framework(x, framework)


PRECISIONS = {
    "double": 1e-5,
    "half": 0.1,
    "half inside": 0.1,
    "bfloat16": 0.4,
    "bfloat16 inside": 0.4,
    "autocast inside": 0.4,
}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("confidence", ["probability", "logit"])
def test_the_precision_of_a_model_changes_little(precision, confidence):
    x = pictures(6)
    expected, found = (adapter(in_precision(name), confidence) for name in ("float", precision))
    tensors = [
        (a.influence(a.tensor(x)), *a.observer(lambda s: s * 0 + 1)(a.tensor(x))[1:])
        for a in (expected, found)
    ]
    for right, given in zip(*(map(expected.numpy, each) for each in tensors), strict=True):
        assert given.dtype == np.float32
        assert np.linalg.norm(given - right) < PRECISIONS[precision] * np.linalg.norm(right)


@pytest.mark.parametrize("precision", ["double", "half", "bfloat16", "half inside"])
def test_a_defended_classifier_predicts_in_the_precision_of_its_model(precision):
    x = pictures(20)
    dtype = {"double": np.float64, "half": np.float16}.get(precision, np.float32)
    model = in_precision(precision)
    classifier = make_classifier("pytorch", model, SMALL_SHAPE["pytorch"], 4)
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(x)
    assert nip(x)[0].dtype == np.float32
    defended = nip.attach(classifier)
    if precision == "bfloat16":  # NumPy has none, so ART gives the model none either
        assert str(nip.forward(nip._adapter.tensor(x))[0].dtype) == "torch.bfloat16"
        return
    assert np.isfinite(defended.predict(x.astype(dtype))).all()


def sure(framework, dtype):
    """Return a model that is so sure that ∂y/∂φ is nothing in float16."""
    if framework == "pytorch":
        import torch

        model = small("pytorch", gain=4000.0)
        return model if dtype == "float32" else wrapped(model.half(), lambda x: x.to(torch.half))
    return small("tensorflow", gain=400.0, dtype=dtype)


@pytest.mark.parametrize("softmax", [False, True])
def test_influence_does_not_underflow_in_half_precision(framework, softmax):
    policy = {"pytorch": "float16", "tensorflow": "mixed_float16"}[framework]
    x = pictures(10, framework)

    def influence(dtype):
        model = sure(framework, dtype)
        a = adapter(with_softmax(framework, model) if softmax else model, framework=framework)
        return a.numpy(a.influence(a.tensor(x)))

    right, found = influence("float32"), influence(policy)
    assert (np.abs(right).max(axis=1) < 1e-7).any()
    sizes = [np.abs(each).max(axis=1) for each in (right, found)]
    told = sizes[0] > 1e-25
    assert told.any()
    np.testing.assert_allclose(np.log(sizes[1][told]), np.log(sizes[0][told]), atol=0.7)


def with_softmax(framework, model):
    if framework == "pytorch":
        from torch import nn

        return nn.Sequential(model, nn.Softmax(1))
    import keras

    return keras.Sequential([model, keras.layers.Activation("softmax", dtype="float32")])


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_probabilities_of_a_sure_model_tell_as_much_as_its_logits(framework, dtype):
    """Where y_c is rounded to 1, what the other classes have left still tells how sure it is."""
    x = pictures(30, framework)
    logits = small(framework, gain={"pytorch": 1000.0, "tensorflow": 40.0}[framework])
    expected = adapter(logits, framework=framework)
    right = expected.numpy(expected.influence(expected.tensor(x)))
    a = adapter(with_softmax_in(framework, logits, dtype), framework=framework)
    found = a.numpy(a.influence(a.tensor(x)))
    sizes, largest = np.linalg.norm(right, axis=1), np.abs(right).max(axis=1)
    assert np.isfinite(found).all()
    told = largest > 1e-4 if dtype == "float16" else largest > 1e-25
    assert told.any()
    assert (largest < 1e-6).any()
    error = np.linalg.norm(found - right, axis=1)[told] / sizes[told]
    assert error.max() < {"float32": 1e-3, "float16": 0.05}[dtype]


def with_softmax_in(framework, model, dtype):
    if framework == "pytorch":
        import torch

        class Softmax(torch.nn.Module):
            def forward(self, z):
                return z.to(getattr(torch, dtype)).softmax(1).float()

        return torch.nn.Sequential(model, Softmax())
    import keras

    return keras.Sequential([model, keras.layers.Activation("softmax", dtype=dtype)])


@pytest.mark.parametrize(
    "policy", ["mixed_float16", "mixed_bfloat16", "float16", "bfloat16", "float64"]
)
def test_policies_of_keras(policy):
    x = pictures(20, "tensorflow")
    model = small("tensorflow", dtype=policy)
    classifier = make_classifier("tensorflow", model, SMALL_SHAPE["tensorflow"], 4)
    for retrieval in ("similarity", "nearest"):
        nip = NIPPreprocessor.for_estimator(classifier, retrieval=retrieval, verbose=False)
        nip.fit(x)
        found = nip(x)[0]
        assert found.dtype == np.float32
        assert np.isfinite(nip.attach(classifier).predict(found)).all()


# Probes


def scaled_model(framework, tiny):
    """Return a model of probabilities that scales each image by its range: 0/0 of the black one."""
    if framework == "pytorch":
        import torch

        class Scaled(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = small("pytorch")

            def forward(self, x):
                low, high = x.amin((1, 2, 3), keepdim=True), x.amax((1, 2, 3), keepdim=True)
                return self.inner((x - low) / (high - low + tiny)).softmax(1)

        return Scaled()
    import keras
    import tensorflow as tf

    class Scale(keras.layers.Layer):
        def call(self, x):
            low, high = (f(x, (1, 2, 3), True) for f in (tf.reduce_min, tf.reduce_max))
            return (x - low) / (high - low + tiny)

    shape = SMALL_SHAPE["tensorflow"]
    layers = [keras.Input(shape), Scale(), small("tensorflow"), keras.layers.Softmax()]
    return keras.Sequential(layers)


def test_a_model_that_gives_nan_for_a_constant_image_is_seen_as_it_is(framework):
    x = pictures(8, framework)
    found = []
    for tiny in (0.0, 1e-12):
        a = adapter(scaled_model(framework, tiny), framework=framework)
        found.append(a.numpy(a.influence(a.tensor(x))))
        with pytest.raises(ValueError, match="needs a model that gives logits; this one gives pro"):
            adapter(scaled_model(framework, tiny), "logit", framework)
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_a_model_that_gives_nan_for_everything_is_refused():
    import torch

    model = small("pytorch")
    with torch.no_grad():
        model[0].weight.fill_(torch.nan)
    with pytest.raises(
        ValueError, match="NaN or infinite scores for every one of the probe images"
    ):
        adapter(model)


# Modes of PyTorch


@pytest.mark.parametrize("retrieval", ["similarity", "nearest", "class"])
@pytest.mark.parametrize("mode", ["inference_mode", "no_grad", "autocast"])
@pytest.mark.parametrize("made_within", [False, True])
def test_modes_of_the_caller_change_nothing(retrieval, mode, made_within, lenet, digits):
    import torch

    within = {
        "inference_mode": torch.inference_mode,
        "no_grad": torch.no_grad,
        "autocast": autocast,
    }[mode]
    (bank, labels), x = digits["bank"], digits["test"][0][:10]
    classifier = make_classifier("pytorch", lenet["pytorch"])

    def make():
        nip = NIPPreprocessor.for_estimator(classifier, retrieval=retrieval, verbose=False)
        nip.fit(bank[:200], labels[:200])
        return nip

    plain = make()
    expected, x_tensor = plain(x)[0], on_device(x)
    y = np.eye(10)[digits["test"][1][:10]]
    gradient = plain.attach(classifier).loss_gradient(x, y)
    if made_within:
        with within():
            nip = make()
            nip(x)
    else:
        nip = make()
    with within():
        np.testing.assert_array_equal(nip(x)[0], expected)
        made = x_tensor * 1
        np.testing.assert_array_equal(nip.forward(made)[0].numpy(force=True), expected)
        if mode != "autocast":  # the classifier itself predicts in another precision then
            assert np.isfinite(nip.attach(classifier).predict(x)).all()
    np.testing.assert_array_equal(nip(x)[0], expected)
    np.testing.assert_array_equal(nip.attach(classifier).loss_gradient(x, y), gradient)


@on_host_only("Weights that move to a device are made anew there.")
def test_weights_made_in_inference_mode_are_refused():
    import torch

    with torch.inference_mode():
        model = small("pytorch")
    with pytest.raises(ValueError, match=r"weights were made within torch.inference_mode\(\)"):
        adapter(model)


@pytest.mark.parametrize("part", [None, 0])
@pytest.mark.parametrize("when", ["before", "after"])
def test_models_compiled_in_place_are_seen_as_they_were_written(part, when):
    import torch

    torch._dynamo.reset()
    model, x = small("pytorch").eval(), pictures(12)
    classifier = make_classifier("pytorch", model, SMALL_SHAPE["pytorch"], 4)
    expected = NIPPreprocessor.for_estimator(classifier, verbose=False)
    expected.fit(x)
    right = expected(x)[0]

    def compile_in_place():
        (model if part is None else model[part]).compile(backend="eager")
        classifier.predict(x)

    if when == "before":
        compile_in_place()
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(x)
    if when == "after":
        compile_in_place()
    np.testing.assert_array_equal(nip(x)[0], right)
    assert torch._dynamo.eval_frame._stance.stance == "default"


def test_a_model_may_change_its_precision_after_an_adapter_was_made():
    model = small("pytorch")
    seen = adapter(model)
    x = seen.tensor(pictures(3))
    expected = seen.numpy(seen.influence(x))
    model.double()
    np.testing.assert_allclose(seen.numpy(seen.influence(x)), expected, atol=1e-5)
    assert seen.logits_and_activations(x, (seen.layer,))[0].shape == (3, 4)
