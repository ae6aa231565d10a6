"""`art-nip train`: trains a zoo model on a data set, and writes weights for either framework."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from art_nip import zoo
from art_nip.data import check_same_classes, load
from art_nip.metrics import Proportion, accuracy
from art_nip.zoo import classifiers, training
from art_nip.zoo.classifiers import TrainedModel
from art_nip.zoo.training import Recipe

MEAN, STD = 0.5, 0.25
RECIPES = {
    "mnist": Recipe(epochs=10, batch_size=50, shift=1),
    "gtsrb": Recipe(epochs=10),
    "cifar10": Recipe(epochs=20, flip=True),
    "imagenette": Recipe(epochs=20, batch_size=32, flip=True, shift=16),
}


def run(arguments: argparse.Namespace) -> int:
    """Train, print the accuracy, and return the exit status."""
    adversarial = arguments.adversarial is not None
    name = classifiers.file_name(arguments.data, arguments.model, arguments.defence, adversarial)
    out = arguments.out or Path("weights") / name
    reached = train(
        arguments.data,
        arguments.model,
        out=out,
        folder=arguments.folder,
        framework=arguments.framework,
        defence=arguments.defence,
        adversarial=arguments.adversarial,
        attack_steps=arguments.attack_steps,
        start=arguments.start,
        epochs=arguments.epochs,
        seed=arguments.seed,
        limit=arguments.limit,
        verbose=not arguments.quiet,
    )
    print(f"accuracy on {reached.n:,} test images: {reached}")
    print(f"Written to {out}")
    return 0


def train(
    data: str,
    model: str,
    *,
    out: Path,
    folder: Path | None = None,
    framework: str = "pytorch",
    defence: str | None = None,
    adversarial: float | None = None,
    attack_steps: int = 1,
    start: Path | None = None,
    epochs: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    verbose: bool = True,
) -> Proportion:
    """Train a model, measure it on the test images, and write its weights.

    :param data: one of `RECIPES`.
    :param model: one of `art_nip.zoo.NAMES`.
    :param out: the file to write; its folder is made if need be.
    :param folder: folder of local files, see `art_nip.data.load`; None takes the hub's.
    :param framework: "pytorch" or "tensorflow".
    :param defence: one of `art_nip.zoo.TRAINED_DEFENCES`, which changes the model; None leaves it.
    :param adversarial: ε in L∞ of the attack that is trained on; None trains on images as they are.
    :param attack_steps: steps of that attack.
    :param start: a file of weights to start from, of the same model with the same defence or with
        none; None starts from random ones.
    :param epochs: passes over the training images; None takes the recipe's.
    :param seed: seed of weights, order and augmentation.
    :param limit: use the first images only, of both parts.
    :param verbose: whether to show progress.
    :return: accuracy on the test images.
    :raises FileNotFoundError: if the folder has no such images, or there is no file to start from.
    :raises ConnectionError: if the hub cannot be reached.
    :raises ValueError: if there is no recipe for the data, no such model or defence, if the images
        are not what the model takes, or if the weights to start from are of another model.
    """
    if data not in RECIPES:
        raise ValueError(f"There is no recipe for {data!r}; there is for {', '.join(RECIPES)}.")
    channels_first = framework == "pytorch"
    x, y, names = load(data, "train", folder=folder, limit=limit, channels_first=channels_first)
    test = load(data, "test", folder=folder, limit=limit, channels_first=channels_first)
    check_same_classes(names, test[2])
    recipe = replace(
        RECIPES[data],
        bfloat16=model != "lenet5",
        adversarial=adversarial,
        attack_steps=attack_steps,
    )
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    shape = x.shape[1:] if channels_first else (x.shape[3], x.shape[1], x.shape[2])
    trained = TrainedModel(model, shape, len(names), MEAN, STD, defence=defence)
    training.seed_weights(framework, seed)
    network = trained.create(framework)
    if start is not None:
        zoo.set_weights(network, {**zoo.get_weights(network), **_weights(start, trained)})
    classifier = classifiers.as_classifier(
        network,
        framework,
        trained.input_shape(framework),
        len(names),
        preprocessing=(MEAN, STD),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    training.train(classifier.model, x, y, recipe, mean=MEAN, std=STD, seed=seed, verbose=verbose)
    reached = accuracy(test[1], classifier.predict(test[0]))
    origin = "" if start is None else f"from {start.name}, "
    note = (
        f"{data}, {framework}, {origin}{recipe}, seed {seed}: {reached} of {reached.n} test images"
    )
    classifiers.save(out, classifier.model, replace(trained, note=note))
    return reached


def _weights(start: Path, trained: TrainedModel) -> dict[str, npt.NDArray[Any]]:
    """Return the weights of a file, which must fit the model to train, with its defence or without.

    :param start: the file.
    :param trained: the model to train.
    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if the file is of another model.
    """
    found, weights = classifiers.read(start)
    allowed = [
        replace(trained, note=found.note, defence=defence) for defence in (None, trained.defence)
    ]
    if found not in allowed:
        raise ValueError(
            f"{start} is of {replace(found, note='')}, and cannot start {trained}: only the same "
            "model can, with the same defence or with none."
        )
    return weights
