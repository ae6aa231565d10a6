"""Models and estimators of all kinds: looked into alike, or refused."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from art.estimators.classification import PyTorchClassifier

from art_nip import NIPPreprocessor
from tests.helpers import FRAMEWORKS, make_classifier, no_scatter, on_device, to_framework
from tests.models import TINY_SHAPE, tiny


def adapter(classifier, layer="auto", confidence="probability"):
    nip = NIPPreprocessor.for_estimator(classifier, layer=layer, confidence=confidence, k1=1, k2=1)
    return nip._adapter


@no_scatter
def test_data_parallel_is_looked_through(lenet, digits):
    from torch import nn

    plain = make_classifier("pytorch", lenet["pytorch"])
    parallel = make_classifier("pytorch", nn.DataParallel(lenet["pytorch"]))
    nips = [NIPPreprocessor.for_estimator(c, verbose=False) for c in (plain, parallel)]
    for nip in nips:
        nip.fit(digits["bank"][0][:50])
    x = digits["test"][0][:10]
    assert np.array_equal(nips[0](x)[0], nips[1](x)[0])
    assert np.array_equal(nips[1].attach(parallel).predict(x), nips[0].attach(plain).predict(x))


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_a_sequential_with_hooks_that_art_does_not_call_is_refused(register):
    from torch import nn

    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    estimator = PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1))
    handle = getattr(model, register)(lambda *_: None)
    with pytest.raises(ValueError, match=r"forward hooks, and ART .* register them on a layer"):
        adapter(estimator, "1")
    handle.remove()
    getattr(model[1], register)(lambda *_: None)
    assert adapter(estimator, "1").n_neurons == 16


@no_scatter
def test_a_sequential_of_which_art_does_not_call_the_forward_is_refused(digits):
    import torch
    from torch import nn

    torch.manual_seed(0)

    class Scaled(nn.Sequential):
        def forward(self, x):
            return super().forward(x / 2)

    model = Scaled(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))
    with pytest.raises(ValueError, match="ART calls the layers one after the other"):
        make_classifier("pytorch", model)
    estimator = PyTorchClassifier(model, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1))
    with pytest.raises(ValueError, match=r"Make the class an .* that holds the Sequential"):
        adapter(estimator)
    held = make_classifier("pytorch", nn.DataParallel(model))
    logits, _ = adapter(held, "2").logits_and_activations(on_device(digits["test"][0][:5]), ())
    np.testing.assert_allclose(held.predict(digits["test"][0][:5]), logits.cpu(), atol=1e-6)


def functional(framework):
    """Return a model that calls no layer, but computes with weights of its own."""
    if framework == "pytorch":
        import torch

        class Product(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.weight = torch.nn.Parameter(torch.randn(4, 192))

            def forward(self, x):
                return torch.nn.functional.linear(x.flatten(1), self.weight)

        return Product()
    keras = pytest.importorskip("keras")

    class KerasProduct(keras.Model):
        def build(self, shape):
            self.matrix = self.add_weight(shape=(192, 4))

        def call(self, x):
            return keras.ops.matmul(keras.ops.reshape(x, (-1, 192)), self.matrix)

    return KerasProduct()


@pytest.mark.parametrize("layer", ["auto", "head"])
@pytest.mark.parametrize(
    ("framework", "advice"),
    [("pytorch", "calls no module inside it"), ("tensorflow", "calls no layer where NIP sees it")],
)
def test_a_model_that_calls_no_layers_is_refused_as_such(framework, advice, layer):
    shape = (3, 8, 8) if framework == "pytorch" else (8, 8, 3)
    estimator = make_classifier(framework, functional(framework), shape, 4)
    with pytest.raises(ValueError, match=rf"Product, {advice}.* neurons of one: put its steps"):
        adapter(estimator, layer)


def test_a_model_of_torch_export_is_refused_as_such():
    import torch
    from torch import nn

    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 4)).eval()
    exported = torch.export.export(
        model, (torch.zeros(4, 3, 8, 8),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    ).module()
    with pytest.raises(ValueError, match=r"GraphModule, as torch\.export .* give the module that"):
        adapter(
            PyTorchClassifier(exported, nn.CrossEntropyLoss(), (3, 8, 8), 4, clip_values=(0, 1))
        )


KERAS_ON_PYTORCH = """
import keras
from art.estimators.classification import PyTorchClassifier, TensorFlowV2Classifier
from torch import nn

from art_nip import NIPPreprocessor

layers = keras.layers
model = keras.Sequential(
    [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(4)]
)
for estimator in (
    PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (8, 8, 3), 4, clip_values=(0, 1), channels_first=False
    ),
    TensorFlowV2Classifier(model, 4, (8, 8, 3), clip_values=(0, 1)),
):
    try:
        NIPPreprocessor.for_estimator(estimator)
    except (TypeError, ValueError) as error:
        print(error)
"""


def test_keras_models_on_the_backend_of_pytorch_are_refused_as_such():
    pytest.importorskip("keras")
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    told = subprocess.run(
        [sys.executable, "-c", KERAS_ON_PYTORCH],
        env=environment, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert len(told) == 2
    assert re.search(
        "is a Keras model on the backend of PyTorch.*KERAS_BACKEND=tensorflow", told[0]
    )
    assert re.search("on the backend of 'torch'.*set KERAS_BACKEND=tensorflow", told[1])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_range_that_does_not_broadcast_to_images_is_refused(framework):
    shape = (3, 8, 8) if framework == "pytorch" else (8, 8, 3)
    wrong = (3,) if framework == "pytorch" else (3, 1, 1)
    ranges = (np.zeros(wrong, np.float32), np.ones(wrong, np.float32))
    estimator = make_classifier(framework, functional(framework), shape, 4, clip_values=ranges)
    with pytest.raises(ValueError, match=r"clip_values of shape .* one for each channel"):
        adapter(estimator)


def test_an_in_place_layer_behind_the_neurons_does_not_change_them(digits):
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(144, 10)]
    x = on_device(digits["test"][0][:5])
    plain = adapter(make_classifier("pytorch", nn.Sequential(*layers)), "0")
    layers[1] = nn.ReLU(inplace=True)
    in_place = adapter(make_classifier("pytorch", nn.Sequential(*layers)), "0")
    assert torch.equal(plain.influence(x), in_place.influence(x))
    for a, b in zip(
        plain.observer(lambda s: s * 0 + 1)(x),
        in_place.observer(lambda s: s * 0 + 1)(x),
        strict=True,
    ):
        assert torch.equal(a, b)


def keras_models(tmp_path):
    """Return Keras models of every kind, all with the same weights."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)

    def parts():
        convolutional = [layers.Conv2D(4, 5, activation="relu"), layers.MaxPooling2D(4)]
        return convolutional, [
            layers.Flatten(),
            layers.Dense(20, activation="relu"),
            layers.Dense(10),
        ]

    convolutional, dense = parts()
    sequential = keras.Sequential([keras.Input((28, 28, 1)), *convolutional, *dense])

    convolutional, dense = parts()
    inputs = x = keras.Input((28, 28, 1))
    for layer in convolutional + dense:
        x = layer(x)
    functional = keras.Model(inputs, x)

    convolutional, dense = parts()
    nested = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.Sequential(convolutional), keras.Sequential(dense)]
    )

    class Subclassed(keras.Model):
        def __init__(self):
            super().__init__()
            self.convolutional, self.dense = parts()

        def call(self, x):
            for layer in self.convolutional + self.dense:
                x = layer(x)
            return x

    subclassed = Subclassed()
    subclassed(np.zeros((1, 28, 28, 1), np.float32))
    for model in (functional, nested, subclassed):
        model.set_weights(sequential.get_weights())
    sequential.save(tmp_path / "model.keras")
    return {
        "sequential": sequential,
        "reloaded": keras.models.load_model(tmp_path / "model.keras"),
        "functional": functional,
        "nested": nested,
        "subclassed": subclassed,
    }


def test_every_kind_of_keras_model(tmp_path, digits):
    import keras
    from art.estimators.classification import KerasClassifier

    x = to_framework(digits["bank"][0][:60], "tensorflow")
    results = {}
    for kind, model in keras_models(tmp_path).items():
        classifiers = {kind: make_classifier("tensorflow", model)}
        if kind != "subclassed":  # ART's KerasClassifier asks for model.inputs
            model.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
            classifiers[f"{kind}, Keras"] = KerasClassifier(model, clip_values=(0, 1))
        for name, classifier in classifiers.items():
            before = [dict(vars(layer)) for layer in model._flatten_layers()]
            nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
            nip.fit(x[:50])
            results[name] = nip.attach(classifier).predict(x)
            after = [dict(vars(layer)) for layer in model._flatten_layers()]
            assert [b.get("call") for b in before] == [a.get("call") for a in after], name
    assert len(results) == 9
    for name, result in results.items():
        np.testing.assert_allclose(result, results["sequential"], atol=1e-5, err_msg=name)


def test_layers_in_nested_keras_models_have_dotted_names(tmp_path):
    model = keras_models(tmp_path)["nested"]
    a = adapter(make_classifier("tensorflow", model))
    block, layer = model.layers[1], model.layers[1].layers[1]
    assert str(a.layer) == f"{block.name}.{layer.name}:input"


def test_probabilities_get_no_second_softmax_and_have_no_logit(framework):
    model = tiny(framework, softmax=True)
    classifier = make_classifier(framework, model, TINY_SHAPE[framework], 2)
    with pytest.raises(ValueError, match="needs a model that gives logits; this one gives prob"):
        adapter(classifier, confidence="logit")


def test_estimators_without_gradients_are_refused(digits):
    from art.estimators.classification import BlackBoxClassifier, SklearnClassifier
    from sklearn.linear_model import LogisticRegression

    x, y = digits["train"]
    model = LogisticRegression(max_iter=5).fit(x[:200].reshape(200, -1), y[:200])
    black_box = BlackBoxClassifier(lambda x: np.eye(10)[[0] * len(x)], (1, 28, 28), 10)
    for estimator in (SklearnClassifier(model), black_box):
        name = type(estimator).__name__.replace("Sklearn", ".*")
        with pytest.raises(TypeError, match=f"{name}.* is not one: give a PyTorchClassifier"):
            NIPPreprocessor.for_estimator(estimator)


def test_a_function_in_place_of_a_keras_model_is_refused():
    import tensorflow as tf

    classifier = make_classifier("tensorflow", lambda x, training: tf.reshape(x, (-1, 784))[:, :10])
    with pytest.raises(TypeError, match=r"not a keras.Model"):
        NIPPreprocessor.for_estimator(classifier)


def test_other_preprocessing_than_mean_and_std_is_refused(lenet):
    from art.defences.preprocessor import FeatureSqueezing

    classifier = make_classifier(
        "pytorch", lenet["pytorch"], preprocessing=FeatureSqueezing((0, 1), bit_depth=4)
    )
    with pytest.raises(TypeError, match="FeatureSqueezing; NIP can look through"):
        NIPPreprocessor.for_estimator(classifier)
