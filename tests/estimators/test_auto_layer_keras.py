"""Which layer "auto" means in Keras models of many kinds, and what of them is refused."""

import numpy as np
import pytest

from art_nip.estimators.base import adapter_for
from tests.helpers import make_classifier

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
layers = keras.layers

SHAPE = (16, 16, 3)


def adapter(model, layer="auto", shape=SHAPE, **keywords):
    classifier = make_classifier("tensorflow", model, shape, 4, **keywords)
    return adapter_for(classifier, layer, "logit")


def functional(make):
    x = keras.Input(SHAPE)
    return keras.Model(x, make(x))


def conv(name, filters=16, **keywords):
    return layers.Conv2D(filters, 3, padding="same", activation="relu", name=name, **keywords)


def gated(x, name, kind):
    """Squeeze-and-excitation, of dense layers or of convolutions of one pixel."""
    squeezed = layers.GlobalAveragePooling2D(keepdims=kind == "convolution")(x)
    make = (
        (lambda n, **k: layers.Conv2D(n, 1, **k))
        if kind == "convolution"
        else (lambda n, **k: layers.Dense(n, **k))
    )
    hidden = make(8, activation="relu", name=f"{name}_1")(squeezed)
    gate = make(x.shape[-1], activation="sigmoid", name=f"{name}_2")(hidden)
    return x * layers.Reshape((1, 1, x.shape[-1]))(gate)


def with_gates(kind):
    def make(x):
        x = gated(conv("conv1")(x), "gate1", kind)
        x = gated(conv("conv2")(x), "gate2", kind)
        return layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x))

    return functional(make)


def class_attention(x):
    values = layers.Reshape((256, 16))(conv("conv")(x))
    query = layers.Dense(16, name="q")(layers.GlobalAveragePooling1D()(values * 0))
    weights = layers.Softmax()(layers.Dot((2, 1))([values, query]))
    found = layers.Dot((1, 1))([weights, layers.Dense(16, name="v")(values)])
    return layers.Dense(4, name="head")(found)


def projected_first(x):
    x = layers.GlobalAveragePooling2D()(conv("conv")(x))
    layers.Dense(8, name="projection")(x)
    return layers.Dense(4, name="head")(x)


def dense_of_convolutions(x):
    x = gated(layers.MaxPooling2D(4)(conv("conv")(x)), "gate", "convolution")
    x = layers.Conv2D(32, 4, activation="relu", name="whole")(x)
    return layers.Flatten()(layers.Conv2D(4, 1, name="head")(x))


class Windows(keras.Model):
    """Patches are folded into the batch, by the number of images."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = layers.Conv2D(8, 4, 4, name="conv"), layers.Dense(4, name="head")
        self.window = layers.Dense(64, activation="tanh", name="window")

    def call(self, x):
        x = self.window(tf.reshape(self.conv(x), (-1, 64)))
        return self.head(inputs=tf.reshape(x, (tf.shape(x)[0] // 2, 128)))


AUTOMATIC = {
    "gates of dense layers": (lambda: with_gates("dense"), "head:input"),
    "gates of convolutions": (lambda: with_gates("convolution"), "head:input"),
    "the query of a class token": (lambda: functional(class_attention), "head:input"),
    "a projection called first": (lambda: functional(projected_first), "head:input"),
    "a dense part of convolutions": (lambda: functional(dense_of_convolutions), "whole:input"),
    "windows folded into the batch": (Windows, "head:input"),
}


@pytest.mark.parametrize("name", AUTOMATIC)
def test_dense_layers_beside_the_way_are_passed_over(name):
    make, expected = AUTOMATIC[name]
    a = adapter(make())
    assert str(a.layer) == expected
    x = a.tensor(np.random.default_rng(0).random((3, *SHAPE)))
    _, influence, perturbation = a.observer(lambda s: s * 0 + 1)(x)
    np.testing.assert_allclose(a.numpy(influence), a.numpy(a.influence(x)), atol=1e-6)
    assert a.numpy(perturbation).any(axis=(1, 2, 3)).all()


def two_heads(x):
    x = layers.Flatten(name="feature")(conv("conv", 2)(x))
    return layers.Dense(4, name="one")(x) + layers.Dense(4, name="two")(x)


def test_several_heads_count_together():
    model = functional(two_heads)
    a = adapter(model)
    assert str(a.layer) == "one:input"
    x = np.random.default_rng(0).random((3, *SHAPE), np.float32)
    phi = keras.Model(model.inputs, model.get_layer("feature").output)(x).numpy()
    weights = sum(model.get_layer(name).get_weights()[0] for name in ("one", "two"))
    expected = weights.T[model(x).numpy().argmax(1)] * phi
    np.testing.assert_allclose(a.numpy(a.influence(a.tensor(x))), expected, atol=1e-5)


# Names


class SharedNames(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv, self.pool = conv("conv"), layers.GlobalAveragePooling2D(name="pool")
        self.one, self.two = layers.Dense(16, name="dense"), layers.Dense(4, name="dense")

    def call(self, x):
        return self.two(self.one(self.pool(self.conv(x))))


def test_layers_that_share_a_name_cannot_be_named():
    model = SharedNames()
    with pytest.raises(ValueError, match="'dense' is the name of several layers"):
        adapter(model, "dense")
    a = adapter(model)
    assert str(a.layer) == "pool"
    assert a.n_neurons == 16


def test_a_layer_called_twice_is_refused():
    relu = layers.ReLU(name="relu")

    def make(x):
        x = relu(layers.Conv2D(8, 3, name="conv2")(relu(layers.Conv2D(8, 3, name="conv1")(x))))
        return layers.Dense(4, name="head")(layers.Flatten()(x))

    with pytest.raises(ValueError, match=r"'relu' is called 2 times .* Name a layer: conv1, conv2"):
        adapter(functional(make), "relu")


class Pair(layers.Layer):
    def call(self, x):
        return x, x + 1


def test_what_is_not_one_tensor_is_refused_with_the_cause():
    def make(x):
        x, y = Pair(name="pair")(conv("conv")(x))
        x = layers.Add(name="sum")([x, y])
        return layers.Dense(4, name="head")(layers.GlobalAveragePooling2D()(x))

    model = functional(make)
    for layer, cause in (
        ("pair", "'pair' gives a tuple"),
        ("sum:input", "'sum:input' takes tensors inside a list"),
    ):
        with pytest.raises(ValueError, match=f"layer {cause}.*Name a layer: "):
            adapter(model, layer)
    assert adapter(model, "pair:input").n_neurons == 16 * 256


def test_windows_are_refused_as_neurons():
    with pytest.raises(ValueError, match=r"'window' handles a tensor of shape \(10, 64\) for 5 im"):
        adapter(Windows(), "window")


# Order of channels


def test_channels_first_inside_a_channels_last_model():
    """What a layer gives is read in the order that it has."""

    def make(x):
        x = layers.Permute((3, 1, 2))(x)
        x = layers.Conv2D(8, 3, data_format="channels_first", activation="relu", name="one")(x)
        x = layers.ReLU(name="relu")(x)
        x = layers.Conv2D(6, 3, data_format="channels_first", activation="relu", name="two")(x)
        return layers.Dense(4, name="head")(layers.Flatten()(x))

    a = adapter(functional(make))
    places = [a.find_layer(name, None) for name in ("one", "relu", "two:input", "two")]
    found = a.activations(a.tensor(np.zeros((2, *SHAPE))), places)
    assert [tuple(maps.shape[1:]) for maps in found] == [(8, 14, 14)] * 3 + [(6, 12, 12)]


def test_an_estimator_with_another_order_than_the_model_is_refused():
    model = functional(lambda x: layers.Dense(4)(layers.Flatten()(conv("conv")(x))))
    with pytest.raises(ValueError, match=r"channels_first=True, but layer 'conv' takes .* last"):
        adapter(model, channels_first=True)


def test_a_model_that_decides_by_values_of_tensors_is_refused():
    class Deciding(keras.Model):
        def __init__(self):
            super().__init__()
            self.conv, self.head = conv("conv"), layers.Dense(4)

        def call(self, x):
            x = tf.reduce_mean(self.conv(x), (1, 2))
            return self.head(x * 2 if tf.reduce_mean(x) > 0 else x)

    with pytest.raises(ValueError, match=r"it decides in Python by the values .* Use tf.where"):
        adapter(Deciding())


def test_rounding_has_no_gradient():
    def make(x):
        rounded = layers.Lambda(tf.round)(x * 255)
        return layers.Dense(4, name="head")(layers.Flatten()(conv("conv")(rounded)))

    a = adapter(functional(make))
    x = a.tensor(np.random.default_rng(0).random((2, *SHAPE)))
    assert not a.numpy(a.observer(lambda s: s * 0 + 1)(x)[2]).any()


def test_a_model_without_a_gradient_is_refused_when_it_is_needed():
    def make(x):
        still = layers.Lambda(tf.stop_gradient)(conv("conv")(x))
        return layers.Dense(4, name="head")(layers.Flatten()(still))

    a = adapter(functional(make))
    assert (str(a.layer), a.n_neurons) == ("head:input", 4096)
    with pytest.raises(ValueError, match="No gradient of the model's scores reaches the images"):
        a.observer(lambda s: s)


class Outside(keras.Model):
    """Does something in Python between a convolution and a dense layer."""

    def __init__(self, function):
        super().__init__()
        self.conv, self.fc = layers.Conv2D(4, 3), layers.Dense(4)
        self.function = function

    def call(self, x):
        return self.fc(tf.reshape(self.function(self.conv(x)), [-1, 784]))


def test_a_model_that_leaves_tensorflow_is_refused():
    with pytest.raises(ValueError, match=r"cannot be compiled .* does not see \(NotImplementedEr"):
        adapter(Outside(np.asarray))


def test_no_gradient_passes_a_function_of_numpy():
    a = adapter(Outside(lambda x: tf.numpy_function(np.copy, [x], tf.float32)))
    with pytest.raises(ValueError, match="No gradient of the model's scores reaches the images"):
        a.observer(lambda s: s)


def test_a_call_that_is_a_tf_function_hides_the_layers():
    class Hidden(Outside):
        call = tf.function(Outside.call)

    with pytest.raises(ValueError, match=r"Hidden, calls no layer .* outside of any tf\.function"):
        adapter(Hidden(tf.identity))
