"""The models of the paper and their images, ready to be attacked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from art_nip import zoo
from art_nip.data import Images, Labels, check_same_classes, load
from art_nip.estimators.base import adapter_for
from art_nip.metrics import Proportion, predicted_classes
from art_nip.paper import tiny
from art_nip.paper.setting import Setting, digest_of
from art_nip.utils.files import reading, tensors
from art_nip.utils.validation import check_choice, check_images, class_indices
from art_nip.zoo import classifiers, training
from art_nip.zoo.classifiers import TrainedModel, as_classifier
from art_nip.zoo.training import Recipe

BANK = 1000
"""How many benign images, of the training part, held-out defences are fitted on by default."""


@dataclass(frozen=True)
class Subject:
    """A model on its data.

    :param label: as tables and figures have it.
    :param data: the data set.
    :param bare: what the file of weights is of, where the file itself does not say so.
    """

    label: str
    data: str
    bare: TrainedModel | None = None


SUBJECTS = {
    "cifar10-vgg19": Subject(
        "VGG-19, CIFAR-10", "cifar10", TrainedModel("vgg19-small", (3, 32, 32), 10, 0.5, 0.25)
    ),
    "cifar10-alexnet": Subject("AlexNet, CIFAR-10", "cifar10"),
    "gtsrb-lenet5": Subject("LeNet-5, GTSRB", "gtsrb"),
    "gtsrb-resnet20": Subject("ResNet-20, GTSRB", "gtsrb"),
    "imagenette-vgg19": Subject("VGG-19, Imagenette", "imagenette"),
    "imagenette-mobilenet": Subject("MobileNet, Imagenette", "imagenette"),
}
"""The six models of Table I, by the name of the file of weights."""

TINY = {"mnist-lenet5": Subject("LeNet-5, MNIST", "mnist")}


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model with the images to attack, all of which it classifies correctly.

    :param name: of `SUBJECTS`.
    :param label: as tables and figures have it.
    :param classifier: an ART classifier.
    :param x: images to attack, shape (N, *input_shape), in [0, 1].
    :param y: their classes, shape (N,).
    :param bank: other benign images and their classes.
    :param identity: what determines all this but the bank, as JSON can hold it.
    :param trained: what the model is.
    :param accuracy: on the test images that were looked at.
    :param label_names: the names of the classes.
    """

    name: str
    label: str
    classifier: Any
    x: Images
    y: Labels
    bank: tuple[Images, Labels]
    identity: dict[str, Any]
    trained: TrainedModel
    accuracy: Proportion
    label_names: list[str]

    @cached_property
    def with_bank(self) -> dict[str, Any]:
        """What determines all of it where something is fitted on the bank, as JSON can hold it."""
        return {**self.identity, "bank": digest_of(*self.bank)}


def names(setting: Setting) -> tuple[str, ...]:
    """Return the names of the models of a run: those asked for, else those that have weights.

    :raises ValueError: if there is none of a name that was asked for.
    :raises FileNotFoundError: if the weights of one that was asked for, or of all, are not there.
    """
    if setting.tiny:
        return tuple(TINY)
    for name in setting.models or ():
        check_choice("model", name, tuple(SUBJECTS))
    there = [name for name in SUBJECTS if _path(setting, name).is_file()]
    for name in setting.models or ([] if there else SUBJECTS):
        if name not in there:
            path = _path(setting, name)
            raise FileNotFoundError(
                f"There are no weights {path}. Train them: art-nip train {name.replace('-', ' ')} "
                f"--out {path}."
            )
    return tuple(dict.fromkeys(setting.models or there))


@cache
def subjects(setting: Setting) -> tuple[Loaded, ...]:
    """Return the models of a run with their images.

    :param setting: of the run.
    :raises FileNotFoundError: if weights or images are not there.
    :raises ValueError: if a model classifies no image correctly.
    """
    return tuple(_loaded(setting, name) for name in names(setting))


def _loaded(setting: Setting, name: str) -> Loaded:
    subject = (TINY if setting.tiny else SUBJECTS)[name]
    classifier, trained = _trained(setting) if setting.tiny else _classifier(setting, name, subject)
    first, side = setting.framework == "pytorch", trained.image_shape[1]

    def images(part: str, n: int) -> tuple[Images, Labels, list[str]]:
        return load(
            subject.data, part, folder=setting.data, limit=n, channels_first=first, side=side
        )

    # Some are classified wrongly, and left out.
    x, y, label_names = images("test", 2 * setting.limit + 50)
    in_bank = setting.bank or (tiny.BANK if setting.tiny else BANK)
    bank_x, bank_y, trained_on = images("train", in_bank)
    try:
        check_images(x, tuple(classifier.input_shape), classifier.clip_values)
        class_indices(y, len(x), classifier.nb_classes)
        _check_classes(trained, trained_on, label_names)
    except ValueError as error:
        raise ValueError(
            f"{name}: the test images of {subject.data} do not suit it. {error}"
        ) from error
    right = predicted_classes(classifier.predict(x)) == y
    kept = np.flatnonzero(right)[: setting.limit]
    if not len(kept):
        raise ValueError(f"{subject.label} classifies none of {len(y)} test images correctly.")
    return Loaded(
        name,
        subject.label,
        classifier,
        x[kept],
        y[kept],
        (bank_x, bank_y),
        identity={
            "model": adapter_for(classifier, None, "probability").fingerprint(),
            "images": digest_of(x[kept], y[kept]),
            "framework": setting.framework,
            "seed": setting.seed,
        },
        trained=trained,
        accuracy=Proportion.of(right),
        label_names=label_names,
    )


def _check_classes(trained: TrainedModel, train: list[str], test: list[str]) -> None:
    """Raise a ValueError unless the classes of the images are those of the model."""
    check_same_classes(train, test)
    if len(train) != trained.nb_classes:
        raise ValueError(
            f"The training images have {len(train)} classes and the model {trained.nb_classes}: "
            "it was trained on others. Train it on these, or give the folder of its own images."
        )


def _path(setting: Setting, name: str) -> Path:
    return setting.weights / f"{name}.safetensors"


def _classifier(setting: Setting, name: str, subject: Subject) -> tuple[Any, TrainedModel]:
    path = _path(setting, name)
    try:
        trained, _ = classifiers.read(path)
        classifier = classifiers.load(path, setting.framework)
    except ValueError:
        if subject.bare is None:
            raise
        trained = subject.bare
        classifier = _of_bare(path, trained, setting.framework)
    _check_is(trained, name, path)
    if hasattr(classifier.model, "requires_grad_"):
        # Nothing is trained here, and PyTorch then leaves out the gradients of weights.
        classifier.model.requires_grad_(False)
    return classifier, trained


def _check_is(trained: TrainedModel, name: str, path: Path) -> None:
    """Raise a ValueError if a file of weights is of another model than its name says."""
    data, _, model = name.partition("-")
    if trained.name not in (model, f"{model}-small") or trained.defence:
        defended = f" with {trained.defence}" if trained.defence else ""
        raise ValueError(
            f"{path} holds the weights of {trained.name}{defended}, and is to be {model} without a "
            f"defence. Train it: art-nip train {data} {model} --out {path}."
        )


def _of_bare(path: Path, of: TrainedModel, framework: str) -> Any:
    model = of.create(framework)
    with reading(path, "Train or copy it again.") as file:
        weights = tensors(file)
    try:
        zoo.set_weights(model, weights)
    except ValueError as error:
        raise ValueError(
            f"{path} is a safetensors file, but neither one of `art-nip train` nor the weights of "
            f"{of.name}: {error}"
        ) from error
    return as_classifier(
        model, framework, of.input_shape(framework), of.nb_classes, preprocessing=(of.mean, of.std)
    )


def _trained(setting: Setting) -> tuple[Any, TrainedModel]:
    """Return LeNet-5 after a few seconds of training on digits."""
    framework = setting.framework
    trained = TrainedModel("lenet5", (1, 28, 28), 10, 0.0, 1.0)
    x, y, _ = load("mnist", "train", limit=1500, channels_first=framework == "pytorch")
    training.seed_weights(framework, setting.seed)
    model = trained.create(framework)
    classifier = as_classifier(model, framework, trained.input_shape(framework), 10)
    recipe = Recipe(epochs=3, batch_size=50, shift=1, bfloat16=False)
    training.train(classifier.model, x, y, recipe, seed=setting.seed, verbose=False)
    return classifier, trained
