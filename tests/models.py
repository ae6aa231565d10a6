"""Models that tests of several rooms look into, in both frameworks, and what they must keep."""

import numpy as np

from tests.helpers import make_classifier

SIDES = {
    "lenet5": 28,
    "vgg19": 32,
    "vgg19-small": 32,
    "alexnet": 16,
    "resnet20": 16,
    "mobilenet": 32,
}
"""Models of the zoo, and a side of the images for each that is large enough."""

TINY_SHAPE = {"pytorch": (1, 1, 10), "tensorflow": (1, 10, 1)}
"""Shape of the images that `tiny` takes."""

SMALL_SHAPE = {"pytorch": (3, 16, 16), "tensorflow": (16, 16, 3)}
"""Shape of the images that `small` takes."""


def tiny(framework, softmax=False):
    """Return a 1×1 convolution (×2) on a 1×10 image, flattened, and a dense layer of 2 classes."""
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


def small(framework, gain=1.0, dtype="float32"):
    """Return two convolutions, 144 neurons for each image, and a dense layer of 4 classes.

    :param gain: factor on the last layer's weights: how sure the model is.
    :param dtype: policy of the Keras layers.
    """
    if framework == "pytorch":
        import torch
        from torch import nn

        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2), nn.ReLU(),
            nn.Flatten(), nn.Linear(144, 4),
        )  # fmt: skip
        model[5].weight.data *= gain
        return model
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(8, 3, 2, activation="relu", dtype=dtype),
            layers.Conv2D(16, 3, 2, activation="relu", dtype=dtype),
            layers.Flatten(dtype=dtype),
            layers.Dense(4, dtype=dtype),
        ]
    )
    kernel, bias = model.layers[-1].get_weights()
    model.layers[-1].set_weights([kernel * gain, bias])
    return model


def smooth(framework):
    """Return a model without kinks, for finite differences, and its classifier."""
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
    return model, make_classifier(framework, model)


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
