"""The families of models that `models.py` tries, and what it looks at in them by other means."""

import contextlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from art_nip.estimators.layers import Layer
from art_nip.utils.frameworks import Framework, framework_of
from art_nip.zoo import origins

LIBRARIES = ("torchvision", "timm", "keras")

SMALL = (
    *("test_", "atto", "femto", "pico", "nano", "xxtiny", "xx_tiny", "xxtn", "tiny", "xxs", "mini"),
    *("_xs", "small", "_s0", "_b0", "b0", "_t", "_s", "_m0", "050", "035", "x0", "18", "_0", "11"),
)
"""What names of small models have in them, the smallest first."""

SIZES = (64, 96, 160, 224, 256, 299)
"""Sides of images to try, the smallest first."""


class CannotBeMadeError(Exception):
    """The library makes no classifier of images of the model, whatever their size."""


@dataclass(frozen=True)
class Seen:
    """What was seen of a layer without NIP's code.

    :param influence: σ of its values, shape (N, n).
    :param gradient: of ⟨w, φ(x)⟩ to the images, the shape of these.
    :param logits: shape (N, nb_classes).
    :param exchanged: the logits if the layer has the values of the images in reverse order.
    """

    influence: np.ndarray
    gradient: np.ndarray
    logits: np.ndarray
    exchanged: np.ndarray


def members(library: str) -> list[tuple[str, str]]:
    """Return the families of a library, and a small member of each."""
    if library == "timm":
        timm = importlib.import_module("timm")
        families = {name: timm.list_models(module=name) for name in timm.list_modules()}
    elif library == "torchvision":
        models = importlib.import_module("torchvision.models")
        families = _by_module(models, models.list_models(module=models))
    else:
        applications = importlib.import_module("keras").applications
        makers = [name for name in dir(applications) if name[0].isupper()]
        families = _by_module(applications, makers)
    return [(family, _smallest(names)) for family, names in families.items() if names]


def _by_module(package: Any, names: list[str]) -> dict[str, list[str]]:
    families: dict[str, list[str]] = {}
    for name in names:
        family = getattr(package, name).__module__.rpartition(".")[2]
        families.setdefault(family, []).append(name)
    return families


def _smallest(names: list[str]) -> str:
    """Return the model whose name sounds smallest."""

    def sounds(name: str) -> tuple[int, int]:
        ranks = [rank for rank, part in enumerate(SMALL) if part in name.lower()]
        return min(ranks, default=len(SMALL)), len(name)

    return min(names, key=sounds)


def classifier(library: str, name: str, nb_classes: int) -> Any:
    """Return an ART classifier of a model with random weights, for images as small as can be.

    :raises CannotBeMadeError: if it is none for images of any size here.
    """
    given = {library: name, "weights": None, "nb_classes": nb_classes}
    error: Exception | None = None
    for size in SIZES:
        shape = (size, size, 3) if library == "keras" else (3, size, size)
        for more in _arguments(library, size):
            try:
                made = origins.load(**given, input_shape=shape, arguments=more)
            except ValueError as refusal:
                error = refusal
                continue
            mean, std = moments(made)
            enliven(made.model, (images(made.input_shape, 8) - mean) / std, nb_classes)
            return made
    raise CannotBeMadeError(str(error))


def _arguments(library: str, size: int) -> list[dict[str, Any]]:
    """Return arguments to try: of models that are made for one size, and with few blocks."""
    if library == "keras":
        return [{}]
    if library == "torchvision":
        return [{"image_size": size}, {}]
    return [{"depth": 2, "img_size": size}, {"img_size": size}, {"depth": 2}, {}]


def images(shape: tuple[int, ...], n: int) -> np.ndarray:
    """Return images of soft shapes and noise, which differ, in [0, 1]."""
    channels_first = shape[0] == 3
    side = shape[1]
    rng = np.random.default_rng(1)
    coarse = rng.random((n, 3, 4, 4))
    soft = np.kron(coarse, np.ones((side // 4 + 1, side // 4 + 1)))[:, :, :side, :side]
    mixed = (0.8 * soft + 0.2 * rng.random(soft.shape)).astype(np.float32)
    return mixed if channels_first else np.ascontiguousarray(np.moveaxis(mixed, 1, -1))


def enliven(model: Any, x: np.ndarray, nb_classes: int) -> None:
    """Make a fresh model one that shows faults.

    Weights that start all alike (scales of zero or nearly so, heads of zeros) get noise, batch
    norms the statistics of some images, and heads weights that give logits of a usual size: else
    scores may hang on no image, or vanish, or probabilities be 0 and 1.
    """
    if framework_of(model) is Framework.PYTORCH:
        _enliven_pytorch(model, x, nb_classes)
    else:
        _enliven_keras(model, x, nb_classes)


def _enliven_pytorch(model: Any, x: np.ndarray, nb_classes: int) -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.numel() > 1 and weight.min() == weight.max():
                weight += 0.1 * torch.randn(weight.shape, generator=generator)
    norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
        norm.train()
    with torch.no_grad():
        model(torch.from_numpy(x))
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    model.eval()
    with torch.no_grad():
        spread = model(torch.from_numpy(x)).std()
        for weight in model.parameters():
            if weight.ndim and len(weight) == nb_classes:
                weight /= spread


def _enliven_keras(model: Any, x: np.ndarray, nb_classes: int) -> None:
    import keras

    rng = np.random.default_rng(0)
    for weight in model.trainable_variables:
        values = np.asarray(weight)
        if values.size > 1 and values.min() == values.max():
            weight.assign(values + 0.1 * rng.normal(size=values.shape))
    norms = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(x, training=True)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    spread = np.asarray(model(x, training=False)).std()
    for weight in model.trainable_variables:
        if weight.shape[-1] == nb_classes:
            weight.assign(weight / spread)


def traces(classifier: Any) -> list[Any]:
    """Return all that looking at a model could leave behind."""
    model = classifier.model
    if framework_of(classifier) is Framework.PYTORCH:
        return [
            (m.training, len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()
        ]
    return [vars(layer).get("call") is None for layer in model._flatten_layers()]


def of_module(module: Any, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return logits of a module, and the gradient of the cross-entropy to the images."""
    if framework_of(module) is Framework.PYTORCH:
        import torch

        images = torch.from_numpy(x).requires_grad_()
        logits = module(images)
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y))
        (gradient,) = torch.autograd.grad(loss, images)
        return logits.detach().numpy(), gradient.numpy()
    import tensorflow as tf

    images = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = module(images)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
    return logits.numpy(), tape.gradient(loss, images).numpy()


def seen(classifier: Any, layer: Layer, x: np.ndarray, weights: np.ndarray) -> Seen:
    """Look at a layer by the framework's own means.

    :param classifier: the ART classifier.
    :param layer: which layer.
    :param x: images.
    :param weights: w, shape (N, n).
    """
    mean, std = moments(classifier)
    if framework_of(classifier) is Framework.PYTORCH:
        return _seen_pytorch(classifier.model, layer, (x - mean) / std, std, weights)
    return _seen_keras(classifier.model, layer, (x - mean) / std, std, weights)


def moments(classifier: Any) -> tuple[Any, Any]:
    """Return mean and std of a classifier."""
    given = classifier.preprocessing
    return np.float32(given.mean), np.float32(given.std)


def _seen_pytorch(
    model: Any, layer: Layer, x: np.ndarray, std: np.ndarray, weights: np.ndarray
) -> Seen:
    import torch

    images = torch.from_numpy(x).requires_grad_()
    values: list[Any] = []
    with _replacing(model, layer, lambda value: values.append(value) or value.clone()):
        logits = model(images)
    (phi,) = values
    scores = logits.softmax(1).max(1).values.sum()
    (slope,) = torch.autograd.grad(scores, phi, retain_graph=True)
    w = torch.from_numpy(weights).reshape(phi.shape)
    (gradient,) = torch.autograd.grad(phi, images, grad_outputs=w)
    with torch.no_grad(), _replacing(model, layer, lambda value: phi.detach().flip(0)):
        exchanged = model(torch.from_numpy(x))
    influence = (slope * phi).detach().flatten(1)
    return Seen(
        influence.numpy(),
        gradient.numpy() / std,
        logits.detach().numpy(),
        exchanged.numpy(),
    )


@contextlib.contextmanager
def _replacing(model: Any, layer: Layer, function: Any) -> Iterator[None]:
    """Send what goes into or comes out of a layer through a function."""
    module = model.get_submodule(layer.name)
    if layer.side == "input":
        handle = module.register_forward_pre_hook(lambda _, given: (function(given[0]), *given[1:]))
    else:
        handle = module.register_forward_hook(lambda _, __, output: function(output))
    try:
        yield
    finally:
        handle.remove()


def _seen_keras(
    model: Any, layer: Layer, x: np.ndarray, std: np.ndarray, weights: np.ndarray
) -> Seen:
    import keras
    import tensorflow as tf

    *outer, name = layer.name.split(".")
    owner, start = model, tf.constant(x)
    if outer:
        (part,) = outer
        owner = model.get_layer(part)
        (node,) = (n for n in owner._inbound_nodes if n.input_tensors[0] is not owner.inputs[0])
        start = keras.Model(model.inputs, node.input_tensors[0])(start)
    inner = owner.get_layer(name)
    tensor = inner.input if layer.side == "input" else inner.output
    body, head = keras.Model(owner.inputs, tensor), keras.Model(tensor, owner.outputs[0])
    given = tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(given)
        begun = given
        if outer:
            begun = keras.Model(model.inputs, node.input_tensors[0])(given)
        phi = body(begun, training=False)
        logits = head(phi, training=False)
        score = tf.reduce_sum(tf.reduce_max(tf.nn.softmax(logits), axis=1))
        weighted = tf.reduce_sum(phi * tf.reshape(weights, phi.shape))
    influence = tape.gradient(score, phi) * phi
    exchanged = head(tf.reverse(phi, [0]), training=False)
    return Seen(
        influence.numpy().reshape(len(x), -1),
        tape.gradient(weighted, given).numpy() / std,
        logits.numpy(),
        exchanged.numpy(),
    )
