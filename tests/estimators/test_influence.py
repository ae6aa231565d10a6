"""What adapters tell: influence and perturbations are right, and of the layer that is meant."""

import numpy as np
import pytest

from art_nip import NIPPreprocessor, zoo
from art_nip.nip.neurons import perturbation_weights
from tests.helpers import make_classifier, on_device, to_framework
from tests.models import SIDES, TINY_SHAPE, smooth, tiny


def adapter(classifier, layer="auto", confidence="probability"):
    nip = NIPPreprocessor.for_estimator(classifier, layer=layer, confidence=confidence, k1=1, k2=1)
    return nip._adapter


@pytest.mark.parametrize("softmax", [False, True])
def test_influence_by_hand(framework, softmax):
    classifier = make_classifier(framework, tiny(framework, softmax), TINY_SHAPE[framework], 2)
    x = np.linspace(0.1, 1, 10, dtype=np.float32).reshape(1, *TINY_SHAPE[framework])
    a = adapter(classifier)
    phi = 2 * x.ravel().astype(np.float64)
    w = np.stack([np.arange(10) / 10, -np.arange(10) / 20])
    logits = w @ phi
    p = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    expected = p[0] * p[1] * (w[0] - w[1]) * phi  # ∂softmax_0/∂φ · φ; class 0 wins
    found = a.numpy(a.influence(a.tensor(x)))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-8)


def test_influence_of_the_logit_by_hand(framework):
    classifier = make_classifier(framework, tiny(framework), TINY_SHAPE[framework], 2)
    a = adapter(classifier, confidence="logit")
    x = np.linspace(0.1, 1, 10, dtype=np.float32).reshape(1, *TINY_SHAPE[framework])
    expected = np.arange(10) / 10 * 2 * x.ravel()
    np.testing.assert_allclose(a.numpy(a.influence(a.tensor(x)))[0], expected, rtol=1e-5)


def test_influence_of_a_model_sure_of_itself_is_not_lost(framework):
    """Plain softmax would give 1 - p = 0, so no influence at all."""
    model = tiny(framework)
    scale = 5
    if framework == "pytorch":
        model[2].weight.data *= scale
    else:
        model.layers[2].set_weights([w * scale for w in model.layers[2].get_weights()])
    a = adapter(make_classifier(framework, model, TINY_SHAPE[framework], 2))
    x = np.linspace(0.1, 1, 10, dtype=np.float32).reshape(1, *TINY_SHAPE[framework])
    margin = scale * (np.arange(10) * 0.15 * 2 * x.ravel().astype(np.float64))
    assert margin.sum() > 40
    expected = np.exp(-margin.sum()) * margin
    np.testing.assert_allclose(a.numpy(a.influence(a.tensor(x)))[0], expected, rtol=1e-3)


@pytest.mark.parametrize("layer", ["auto", "features.3", "features.4:input", "classifier.1"])
def test_influence_is_that_of_captum(lenet, digits, layer):
    from captum.attr import LayerGradientXActivation

    model = lenet["pytorch"]
    a = adapter(make_classifier("pytorch", model), layer)
    x = on_device(digits["test"][0][:20])
    name, _, side = str(a.layer).partition(":")
    oracle = LayerGradientXActivation(
        lambda images: model(images).softmax(1), model.get_submodule(name)
    )
    predicted = model(x).argmax(1)
    expected = oracle.attribute(x, predicted, attribute_to_layer_input=bool(side))
    expected = expected.flatten(1).numpy(force=True)
    np.testing.assert_allclose(a.numpy(a.influence(x)), expected, atol=1e-5)


def test_perturbation_is_the_gradient_of_the_loss(framework, lenet, digits):
    """Against finite differences of ⟨w, φ⟩, φ read off influence [1] with y_c = φ's own logit."""
    model, classifier = smooth(framework)
    a = adapter(classifier)
    x = to_framework(digits["test"][0][:2], framework)
    found = {}

    def weights(influence):
        found["w"] = perturbation_weights(influence, 5, 5)
        return found["w"]

    _, influence, rho = (a.numpy(t) for t in a.observer(weights)(a.tensor(x)))
    w = np.asarray(perturbation_weights(influence, 5, 5))
    direction = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    step = 1e-2
    up, down = (neurons_of(framework, model, x + s * step * direction) for s in (1, -1))
    slope = ((up - down) * w).sum(1) / (2 * step)
    np.testing.assert_allclose((rho * direction).sum((1, 2, 3)), slope, rtol=2e-3, atol=1e-3)


def neurons_of(framework, model, x):
    if framework == "pytorch":
        import torch

        with torch.no_grad():
            return model[:-1](on_device(x)).double().numpy(force=True)
    for layer in model.layers[:-1]:
        x = layer(x)
    return np.asarray(x, np.float64)


def test_preprocessing_is_looked_through(framework, lenet, images):
    x = images["test"][0][:10]
    plain = adapter(make_classifier(framework, lenet[framework], clip_values=(-2, 2)))
    standardising = adapter(make_classifier(framework, lenet[framework], preprocessing=(0.25, 0.5)))
    expected = plain.numpy(plain.influence(plain.tensor((x - 0.25) / 0.5)))
    found = standardising.numpy(standardising.influence(standardising.tensor(x)))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # The perturbation is one of the image, so it is scaled by 1/std.
    [a, b] = [
        seen[2]
        for seen in (
            plain.observer(lambda s: s * 0 + 1)(plain.tensor((x - 0.25) / 0.5)),
            standardising.observer(lambda s: s * 0 + 1)(standardising.tensor(x)),
        )
    ]
    np.testing.assert_allclose(standardising.numpy(b), plain.numpy(a) * 2, atol=1e-4)


# Layers


@pytest.mark.parametrize("name", SIDES)
def test_auto_is_the_layer_between_convolutional_and_dense_part(framework, name):
    size = (SIDES[name], SIDES[name])
    shape = (3, *size) if framework == "pytorch" else (*size, 3)
    model = zoo.create(name, framework=framework, input_shape=shape, nb_classes=10)
    a = adapter(make_classifier(framework, model, shape))
    assert str(a.layer) == "classifier.0:input"
    flat = {"resnet20": 64, "mobilenet": 1024, "vgg19": 512, "vgg19-small": 512}
    assert a.n_neurons == flat.get(name, a.n_neurons) > 10


def test_auto_of_a_model_that_flattens_in_its_code(digits):
    import torch
    from torch import nn

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 9)
            self.head = nn.Sequential(nn.Dropout(), nn.Linear(300, 10))

        def forward(self, x):
            x = nn.functional.max_pool2d(self.conv(x).relu_(), 2)
            return self.head(torch.flatten(x, 1))

    a = adapter(make_classifier("pytorch", Functional()))
    assert (str(a.layer), a.n_neurons) == ("head.1:input", 300)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("classifer.0", r"'classifer.0' is not in the model. The nearest: classifier"),
        ("zzz", r"'zzz' is not in the model. There are: .*features.0"),
        ("features.0:output", r"after the colon only 'input' is allowed"),
    ],
)
def test_an_unknown_layer_is_an_error_that_lists_the_nearest(classifier, layer, message):
    with pytest.raises(ValueError, match=message):
        NIPPreprocessor.for_estimator(classifier, layer=layer)


def test_a_layer_of_maps_is_flattened(classifier):
    a = adapter(classifier, "features.3")
    assert a.n_neurons == 16 * 8 * 8
