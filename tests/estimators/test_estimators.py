"""The adapters: values are right, layers are found, models stay as they were."""

import numpy as np
import pytest

from art_nip import NIPPreprocessor, zoo
from art_nip.nip.neurons import perturbation_weights
from art_nip.testing import check_preprocessor
from tests.helpers import make_classifier, to_framework


def adapter(classifier, layer="auto", confidence="probability"):
    nip = NIPPreprocessor.for_estimator(classifier, layer=layer, confidence=confidence, k1=1, k2=1)
    return nip._adapter


# Values


def tiny(framework, softmax=False):
    """One 1×1 convolution (×2) on a 1×10 image, flattened, and a dense layer of two classes."""
    dense = np.stack([np.arange(10) / 10, -np.arange(10) / 20]).astype(np.float32)
    if framework == "pytorch":
        import torch
        from torch import nn

        model = nn.Sequential(nn.Conv2d(1, 1, 1, bias=False), nn.Flatten(), nn.Linear(10, 2))
        with torch.no_grad():
            model[0].weight.fill_(2)
            model[2].weight.copy_(torch.from_numpy(dense))
            model[2].bias.zero_()
        return model.append(nn.Softmax(1)) if softmax else model
    import keras

    layers = [keras.Input((1, 10, 1)), keras.layers.Conv2D(1, 1, use_bias=False)]
    layers += [keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential(layers + [keras.layers.Softmax()] * softmax)
    model.layers[0].set_weights([np.full((1, 1, 1, 1), 2.0)])
    model.layers[2].set_weights([dense.T, np.zeros(2)])
    return model


TINY_SHAPE = {"pytorch": (1, 1, 10), "tensorflow": (1, 10, 1)}


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
    import torch
    from captum.attr import LayerGradientXActivation

    model = lenet["pytorch"]
    a = adapter(make_classifier("pytorch", model), layer)
    x = torch.from_numpy(digits["test"][0][:20])
    name, _, side = str(a.layer).partition(":")
    oracle = LayerGradientXActivation(
        lambda images: model(images).softmax(1), model.get_submodule(name)
    )
    predicted = model(x).argmax(1)
    expected = oracle.attribute(x, predicted, attribute_to_layer_input=bool(side))
    expected = expected.flatten(1).detach().numpy()
    np.testing.assert_allclose(a.numpy(a.influence(x)), expected, atol=1e-5)


def test_perturbation_is_the_gradient_of_the_loss(framework, lenet, digits):
    """Against finite differences of ⟨w, φ⟩, φ read off influence [1] with y_c = φ's own logit."""
    model, a = smooth(framework)
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


def smooth(framework):
    """Return a model without kinks, for finite differences, and its adapter."""
    if framework == "pytorch":
        import torch
        from torch import nn

        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 5), nn.Tanh(), nn.AvgPool2d(4), nn.Flatten(), nn.Linear(144, 10)
        )
    else:
        import keras
        from keras import layers

        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(4, 5, activation="tanh"),
                layers.AveragePooling2D(4),
                layers.Flatten(),
                layers.Dense(10),
            ]
        )
    return model, adapter(make_classifier(framework, model))


def neurons_of(framework, model, x):
    if framework == "pytorch":
        import torch

        with torch.no_grad():
            return model[:-1](torch.from_numpy(x)).double().numpy()
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

SIDES = {
    "lenet5": 28,
    "vgg19": 32,
    "vgg19-small": 32,
    "alexnet": 16,
    "resnet20": 16,
    "mobilenet": 32,
}


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


def test_auto_takes_a_convolution_of_one_pixel_for_dense():
    """As Keras once wrote MobileNet's head; squeeze-and-excitation before it is passed over."""
    from torch import nn

    class Excite(nn.Module):
        def __init__(self):
            super().__init__()
            self.squeeze = nn.Conv2d(12, 12, 1)

        def forward(self, x):
            return x * self.squeeze(x.mean((2, 3), keepdim=True)).sigmoid()

    model = nn.Sequential(
        nn.Conv2d(1, 12, 3), Excite(), nn.Conv2d(12, 20, 1), nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(20, 10, 1), nn.Flatten(),
    )  # fmt: skip
    a = adapter(make_classifier("pytorch", model))
    assert (str(a.layer), a.n_neurons) == ("4:input", 20)


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


def test_auto_without_convolution_or_dense_layer_says_so():
    from torch import nn

    dense = nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.Linear(20, 10))
    with pytest.raises(ValueError, match=r"no convolution was called. Name a layer: 0, 1, 2"):
        adapter(make_classifier("pytorch", dense))
    convolutional = nn.Sequential(nn.Conv2d(1, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(ValueError, match="no dense layer was called after the last convolution"):
        adapter(make_classifier("pytorch", convolutional))
    assert adapter(make_classifier("pytorch", dense), "1").n_neurons == 20


def test_a_layer_of_maps_is_flattened(classifier):
    a = adapter(classifier, "features.3")
    assert a.n_neurons == 16 * 8 * 8


# Kinds of models


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


def test_an_in_place_layer_behind_the_neurons_does_not_change_them(digits):
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 5), nn.ReLU(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(144, 10)]
    x = torch.from_numpy(digits["test"][0][:5])
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


# Nothing left behind


class BrokenError(Exception):
    """Raised by a layer."""


def with_norm(framework, fail):
    """Return a model with BatchNorm and Dropout, whose last layer can be made to fail."""
    if framework == "pytorch":
        import torch
        from torch import nn

        class Last(nn.Linear):
            def forward(self, x):
                if fail["now"]:
                    raise BrokenError
                return super().forward(x)

        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.MaxPool2d(4), nn.Flatten(), nn.Dropout(),
            nn.Linear(144, 30), Last(30, 10),
        )  # fmt: skip
    import keras
    from keras import layers

    class Last(layers.Dense):
        def call(self, x):
            if fail["now"]:
                raise BrokenError
            return super().call(x)

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)), layers.Conv2D(4, 5), layers.BatchNormalization(),
            layers.MaxPooling2D(4), layers.Flatten(), layers.Dropout(0.5), layers.Dense(30),
            Last(10),
        ]
    )  # fmt: skip


def traces(framework, model):
    """Return all that looking at a model could leave behind."""
    if framework == "pytorch":
        return [
            (m.training, len(m._forward_hooks), len(m._forward_pre_hooks), m.__dict__.keys())
            for m in model.modules()
        ] + [
            (p.requires_grad, p.grad, p.tolist()) for p in model.state_dict(keep_vars=True).values()
        ]
    return [dict(vars(layer)).get("call") for layer in model._flatten_layers()] + [
        w.tolist() for w in model.get_weights()
    ]


@pytest.mark.parametrize("breaks", [False, True])
def test_the_model_is_left_as_it_was(framework, images, breaks):
    fail = {"now": False}
    model = with_norm(framework, fail)
    classifier = make_classifier(framework, model)
    if framework == "pytorch":
        model.train()
        model[1].eval()  # modes may be mixed
        model[0].weight.requires_grad_(False)
    before = traces(framework, model)
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    x = images["bank"][0][:40]
    nip.fit(x)
    fail["now"] = breaks
    if breaks:
        nip.set_params(k1=4)  # another function of influence: TensorFlow must trace fitting anew
        looks = [lambda: nip.fit(x)]
        if framework == "pytorch":  # TensorFlow's graph of influence stands, and calls no layer
            looks += [lambda: nip.set_params(layer="5"), lambda: nip.influence(x)]
        for look in looks:
            with pytest.raises(BrokenError):
                look()
    else:
        nip(x)
        nip.influence(x)
    assert traces(framework, model) == before


def test_gradients_may_be_off_and_training_mode_on(lenet, digits):
    import torch

    classifier = make_classifier("pytorch", lenet["pytorch"])
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(digits["bank"][0][:100])
    x = digits["test"][0][:10]
    expected = nip(x)[0]
    with torch.no_grad():
        assert np.array_equal(nip(x)[0], expected)
        assert not torch.is_grad_enabled()
    defended = nip.attach(classifier)
    defended.predict(x, training_mode=True)
    assert lenet["pytorch"].training
    assert np.array_equal(nip(x)[0], expected)
    lenet["pytorch"].eval()


def test_conformance(nip, images):
    check_preprocessor(nip, images["test"][0][:6])
