"""The models of the paper and their images, ready to be attacked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file

from art_nip import zoo
from art_nip.data import load
from art_nip.estimators.base import adapter_for
from art_nip.metrics import predicted_classes
from art_nip.paper.setting import Setting, digest_of
from art_nip.utils.validation import check_choice
from art_nip.zoo import classifiers, training
from art_nip.zoo.classifiers import TrainedModel, as_classifier
from art_nip.zoo.training import Recipe

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

BANK, TINY_BANK = 1000, 100
"""How many benign images, of the training part, held-out defences are fitted on."""


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
    "gtsrb-lenet5": Subject("LeNet-5, GTSRB", "gtsrb"),
    "gtsrb-resnet20": Subject("ResNet-20, GTSRB", "gtsrb"),
}
"""By the name of the file of weights."""

TINY = {"mnist-lenet5": Subject("LeNet-5, MNIST", "mnist")}


@dataclass(frozen=True)
class Loaded:
    """A model with the images to attack, all of which it classifies correctly.

    :param name: of `SUBJECTS`.
    :param label: as tables and figures have it.
    :param classifier: an ART classifier.
    :param x: images to attack, shape (N, *input_shape), in [0, 1].
    :param y: their classes, shape (N,).
    :param bank: other benign images and their classes.
    :param identity: what determines all this, as JSON can hold it.
    """

    name: str
    label: str
    classifier: Any
    x: Images
    y: Labels
    bank: tuple[Images, Labels]
    identity: dict[str, Any]


def names(setting: Setting) -> tuple[str, ...]:
    """Return the names of the models of a run.

    :raises ValueError: if there is none of a name that was asked for.
    """
    if setting.tiny:
        return tuple(TINY)
    chosen = tuple(SUBJECTS) if setting.models is None else setting.models
    for name in chosen:
        check_choice("model", name, tuple(SUBJECTS))
    return chosen


def check_weights(setting: Setting) -> None:
    """Raise a FileNotFoundError unless the weights of all models of a run are there."""
    for name in () if setting.tiny else names(setting):
        path = _path(setting, name)
        if not path.is_file():
            data, model = name.split("-")
            raise FileNotFoundError(
                f"There are no weights {path}. Train them, art-nip train {data} {model} --out "
                f"{path}; or leave that model out, with --models and the others: "
                f"{', '.join(SUBJECTS)}."
            )


def loaded(setting: Setting, name: str) -> Loaded:
    """Return a model and its images.

    :param setting: of the run.
    :param name: one of `names`.
    :raises FileNotFoundError: if weights or images are not there.
    :raises ValueError: if the model classifies no image correctly.
    """
    subject = (TINY if setting.tiny else SUBJECTS)[name]
    classifier = _trained(setting) if setting.tiny else _classifier(setting, name, subject)
    first = setting.framework == "pytorch"

    def images(part: str, n: int) -> tuple[Images, Labels]:
        total = len(load(subject.data, part, folder=setting.data, channels_first=first)[1])
        chosen = {"stratified": n} if n < total - 100 else {}
        x, y, _ = load(
            subject.data,
            part,
            folder=setting.data,
            channels_first=first,
            seed=setting.seed,
            **chosen,
        )
        return x, y

    # Some are classified wrongly, and left out.
    x, y = images("test", 2 * setting.limit + 50)
    right = np.flatnonzero(predicted_classes(classifier.predict(x)) == y)[: setting.limit]
    if not len(right):
        raise ValueError(f"{subject.label} classifies none of {len(y)} test images correctly.")
    x, y = x[right], y[right]
    bank = images("train", TINY_BANK if setting.tiny else BANK)
    identity = {
        "model": adapter_for(classifier, None, "probability").fingerprint(),
        "images": digest_of(x, y),
        "framework": setting.framework,
        "seed": setting.seed,
    }
    return Loaded(name, subject.label, classifier, x, y, bank, identity)


def _path(setting: Setting, name: str) -> Path:
    return setting.weights / f"{name}.safetensors"


def _classifier(setting: Setting, name: str, subject: Subject) -> Any:
    path = _path(setting, name)
    try:
        classifier = classifiers.load(path, setting.framework)
    except ValueError:
        if subject.bare is None:
            raise
        classifier = _of_bare(path, subject.bare, setting.framework)
    if hasattr(classifier.model, "requires_grad_"):
        # Nothing is trained here, and PyTorch then leaves out the gradients of weights.
        classifier.model.requires_grad_(False)
    return classifier


def _of_bare(path: Path, of: TrainedModel, framework: str) -> Any:
    model = of.create(framework)
    zoo.set_weights(model, load_file(path))
    return as_classifier(
        model, framework, of.input_shape(framework), of.nb_classes, preprocessing=(of.mean, of.std)
    )


def _trained(setting: Setting) -> Any:
    """Return LeNet-5 after a few seconds of training on digits."""
    framework = setting.framework
    x, y, _ = load("mnist", "train", limit=1500, channels_first=framework == "pytorch")
    training.seed_weights(framework, setting.seed)
    model = zoo.create("lenet5", framework=framework, input_shape=x.shape[1:], nb_classes=10)
    classifier = as_classifier(model, framework, x.shape[1:], 10)
    recipe = Recipe(epochs=3, batch_size=50, shift=1, bfloat16=False)
    training.train(classifier.model, x, y, recipe, seed=setting.seed, verbose=False)
    return classifier
