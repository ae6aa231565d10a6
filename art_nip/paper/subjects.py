"""The models of the paper with their images: what every table and figure is about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from art_nip import zoo
from art_nip.data import Images, Labels, check_same_classes, load, mnist, split
from art_nip.zoo import classifiers, training
from art_nip.zoo.training import Recipe

TITLES = {
    "cifar10-vgg19": "VGG-19, CIFAR-10",
    "cifar10-alexnet": "AlexNet, CIFAR-10",
    "gtsrb-lenet5": "LeNet-5, GTSRB",
    "gtsrb-resnet20": "ResNet-20, GTSRB",
    "imagenette-vgg19": "VGG-19, Imagenette",
    "imagenette-mobilenet": "MobileNet, Imagenette",
}
"""The six subjects of Table I, by the name of their file of weights."""

STAND_IN = "mnist-lenet5"
"""LeNet-5 on embedded digits, trained in seconds: what `--tiny` looks at."""


@dataclass(frozen=True)
class Scale:
    """How much is computed.

    :param images: how many images are attacked.
    :param bank: how many benign images defences learn from.
    """

    images: int
    bank: int


TINY = Scale(images=16, bank=150)
REDUCED = Scale(images=100, bank=1000)


@dataclass(frozen=True)
class Subject:
    """A trained classifier, images that it is judged on, and images that defences learn from.

    :param name: its name, that of its file of weights.
    :param classifier: an ART classifier of images in [0, 1].
    :param x: images to evaluate on, shape (N, *input_shape), which the classifier gets right.
    :param y: their classes, shape (N,).
    :param bank: other benign images and their classes.
    :param benign: accuracy on as many test images as were looked at to find `x`.
    :param trained: what its file of weights says of it.
    :param label_names: the names of the classes.
    """

    name: str
    classifier: Any
    x: Images
    y: Labels
    bank: tuple[Images, Labels]
    accuracy: float
    trained: classifiers.TrainedModel
    label_names: list[str]

    @property
    def title(self) -> str:
        """What figures call it."""
        return TITLES.get(self.name, "LeNet-5, MNIST digits")


def subject(
    name: str, scale: Scale, *, weights: Path, data: Path | None, framework: str
) -> Subject:
    """Return a subject with the images that the scale asks for.

    :param name: one of `TITLES`, or `STAND_IN`.
    :param weights: the folder with `{name}.safetensors`, as `art-nip train` writes it.
    :param data: the folder of local images, as of :func:`art_nip.data.load`; None downloads them.
    :param framework: "pytorch" or "tensorflow".
    :raises FileNotFoundError: if there are no weights; the message says how to train them.
    """
    if name == STAND_IN:
        return _stand_in(scale, framework)
    path = weights / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no {path}: train it, art-nip train {name.replace('-', ' ')} --out {path}, "
            "or leave the model out with --models."
        )
    trained, _ = classifiers.read(path)
    classifier = classifiers.load(path, framework)
    how: dict[str, Any] = {"folder": data, "channels_first": classifier.channels_first}
    collection = name.split("-")[0]
    # Twice as many as needed, and 500 at least, to know the accuracy and have enough right ones.
    x, y, names = load(collection, "test", limit=max(2 * scale.images, 500), **how)
    x_bank, y_bank, theirs = load(collection, "train", limit=scale.bank, **how)
    check_same_classes(theirs, names)
    return _judged_on_right_ones(name, classifier, x, y, (x_bank, y_bank), trained, names, scale)


def _stand_in(scale: Scale, framework: str) -> Subject:
    """Return a subject that needs no files."""
    sizes = (1500, scale.bank, 2 * scale.images)
    train, bank, test = split(*mnist(channels_first=framework == "pytorch"), sizes)
    trained = classifiers.TrainedModel("lenet5", (1, 28, 28), 10, 0.0, 1.0)
    training.seed_weights(framework, 0)
    model = trained.create(framework)
    classifier = classifiers.as_classifier(model, framework, trained.input_shape(framework), 10)
    recipe = Recipe(epochs=3, batch_size=50, shift=1, bfloat16=False)
    training.train(classifier.model, *train, recipe, verbose=False)
    names = [str(digit) for digit in range(10)]
    return _judged_on_right_ones(STAND_IN, classifier, *test, bank, trained, names, scale)


def _judged_on_right_ones(
    name: str,
    classifier: Any,
    x: Images,
    y: Labels,
    bank: tuple[Images, Labels],
    trained: classifiers.TrainedModel,
    label_names: list[str],
    scale: Scale,
) -> Subject:
    """Return a subject of the first images that the classifier gets right, as in the paper."""
    right = np.flatnonzero(classifier.predict(x).argmax(axis=1) == y)
    kept = right[: scale.images]
    return Subject(
        name, classifier, x[kept], y[kept], bank, len(right) / len(x), trained, label_names
    )


def parameters(subject: Subject) -> int:
    """Return how many numbers of the model are trained or kept, BatchNorm statistics included."""
    return sum(array.size for array in zoo.get_weights(subject.classifier.model).values())
