"""`art-nip train`: trains a zoo model on a data set, and writes weights for either framework."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip import zoo
from art_nip.data import check_same_classes, load
from art_nip.metrics import Proportion, accuracy
from art_nip.utils.files import check_writable
from art_nip.zoo import classifiers, training
from art_nip.zoo.classifiers import TrainedModel
from art_nip.zoo.training import Recipe

Weights = dict[str, npt.NDArray[Any]]

CONVOLUTIONAL = "features."
"""How names of weights of the convolutional part begin."""

MEAN, STD = 0.5, 0.25
RECIPES = {
    "mnist": Recipe(epochs=10, batch_size=50),
    "gtsrb": Recipe(epochs=10),
    "cifar10": Recipe(epochs=20, flip=True),
    "imagenette": Recipe(epochs=20, batch_size=32, flip=True),
}
"""By data set; images are moved by up to a sixteenth of their side."""

RATES = {"alexnet": 3e-4}
"""Learning rates of models that diverge at that of the recipes: AlexNet normalises nothing."""


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
        side=arguments.side,
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
    side: int | None = None,
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
        none, or of one with the same convolutional part, which alone is then taken; None starts
        from random ones.
    :param side: height and width that images are brought to; None leaves them as they are.
    :param epochs: passes over the training images; None takes the recipe's.
    :param seed: seed of weights, order and augmentation.
    :param limit: use the first images only, of both parts.
    :param verbose: whether to show progress.
    :return: accuracy on the test images.
    :raises FileNotFoundError: if the folder has no such images, or there is no file to start from.
    :raises ConnectionError: if the hub cannot be reached.
    :raises OSError: if the file cannot be written; this is known before the training.
    :raises ValueError: if there is no recipe for the data, no such model or defence, if the images
        are not what the model takes, fewer than a batch or of fewer classes than those of the test,
        if the weights to start from are of another model, or if
        something is in the place of the file to write that is no file.
    """
    if data not in RECIPES:
        raise ValueError(f"There is no recipe for {data!r}; there is for {', '.join(RECIPES)}.")
    check_writable(out)  # says now, and not after hours, that no file can be there
    channels_first = framework == "pytorch"
    (x, y, names), test = (
        load(data, part, folder=folder, limit=limit, channels_first=channels_first, side=side)
        for part in ("train", "test")
    )
    check_same_classes(names, test[2])
    if test[1].max() >= len(names):
        raise ValueError(
            f"The training images have {len(names)} classes, and test images are of class "
            f"{test[1].max()}, counted from 0: the model could not learn it. Give images of it, or "
            "take it out of the test images."
        )
    recipe = RECIPES[data]
    recipe = replace(
        recipe,
        epochs=recipe.epochs if epochs is None else epochs,
        learning_rate=RATES.get(model, recipe.learning_rate),
        shift=x.shape[2] // 16,
        bfloat16=model != "lenet5",
        adversarial=adversarial,
        attack_steps=attack_steps,
    )
    shape = x.shape[1:] if channels_first else (x.shape[3], x.shape[1], x.shape[2])
    trained = TrainedModel(model, shape, len(names), MEAN, STD, defence=defence)
    training.seed_weights(framework, seed)
    network = trained.create(framework)
    origin = ""
    if start is not None:
        own = zoo.get_weights(network)
        loaded, what = _weights(start, trained, own)
        zoo.set_weights(network, {**own, **loaded})
        origin = f"from {what}, "
    if len(x) < recipe.batch_size:
        raise ValueError(
            f"There are {len(x)} training images, and a batch of {data} takes {recipe.batch_size}: "
            "give more of them, or a larger limit."
        )
    classifier = classifiers.as_classifier(
        network,
        framework,
        trained.input_shape(framework),
        len(names),
        preprocessing=(MEAN, STD),
    )
    training.train(classifier.model, x, y, recipe, mean=MEAN, std=STD, seed=seed, verbose=verbose)
    reached = accuracy(test[1], classifier.predict(test[0]))
    note = (
        f"{data}, {framework}, {origin}{recipe}, seed {seed}: {reached} of {reached.n} test images"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    classifiers.save(out, classifier.model, replace(trained, note=note))
    return reached


def _weights(start: Path, trained: TrainedModel, own: Weights) -> tuple[Weights, str]:
    """Return the weights of a file that a model starts from, and in words what they are.

    :param start: the file: of the same model, with its defence or without, or of another with the
        same convolutional part, of which the weights of that part are returned. Convolutions may
        lack biases there, which are then zero.
    :param trained: the model to train.
    :param own: its weights.
    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if the file is of another model.
    """
    found, weights = classifiers.read(start)
    allowed = [
        replace(trained, note=found.note, defence=defence) for defence in (None, trained.defence)
    ]
    if found in allowed:
        return weights, start.name
    wanted = {name: weight for name, weight in own.items() if name.startswith(CONVOLUTIONAL)}
    given = {name: weight for name, weight in weights.items() if name.startswith(CONVOLUTIONAL)}
    biases = {
        name: np.zeros_like(weight)
        for name, weight in wanted.items()
        if name not in given and name.endswith(".bias")
    }
    filled = {**given, **biases}
    if {name: weight.shape for name, weight in filled.items()} != {
        name: weight.shape for name, weight in wanted.items()
    }:
        raise ValueError(
            f"{start} is of {replace(found, note='')}, and cannot start {trained}: only the same "
            "model can, with the same defence or with none, or one with the same convolutional "
            "part."
        )
    return filled, f"the convolutional part of {start.name}"
