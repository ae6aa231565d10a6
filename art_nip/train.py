"""`art-nip train`: a model of the zoo on a data set, to a file of weights for either framework."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from art_nip.data import check_same_classes, load
from art_nip.metrics import Proportion, accuracy
from art_nip.zoo import classifiers, training
from art_nip.zoo.classifiers import Trained
from art_nip.zoo.training import Recipe

MEAN, STD = 0.5, 0.25
RECIPES = {
    "mnist": Recipe(epochs=10, batch_size=50, shift=1),
    "gtsrb": Recipe(epochs=10),
    "cifar10": Recipe(epochs=20, flip=True),
    "imagenette": Recipe(epochs=20, batch_size=32, flip=True, shift=16),
}


def run(
    data: str,
    model: str,
    *,
    out: Path,
    folder: Path | None = None,
    framework: str = "pytorch",
    epochs: int | None = None,
    seed: int = 0,
    limit: int | None = None,
    verbose: bool = True,
) -> Proportion:
    """Train a model, measure it on the test images, and write its weights.

    :param data: one of `RECIPES`.
    :param model: one of `art_nip.zoo.NAMES`.
    :param out: the file to write; its folder is made if need be.
    :param folder: of local files, see `art_nip.data.load`; None takes the hub's.
    :param framework: "pytorch" or "tensorflow".
    :param epochs: passes over the training images; None takes the recipe's.
    :param seed: of weights, order and augmentation.
    :param limit: use the first images only, of both parts.
    :param verbose: whether to show progress.
    :return: accuracy on the test images.
    :raises FileNotFoundError: if the folder has no such images.
    :raises ConnectionError: if the hub cannot be reached.
    :raises ValueError: if there is no recipe for the data, no such model, or the images are not
        what the model takes.
    """
    if data not in RECIPES:
        raise ValueError(f"There is no recipe for {data!r}; there is for {', '.join(RECIPES)}.")
    channels_first = framework == "pytorch"
    x, y, names = load(data, "train", folder=folder, limit=limit, channels_first=channels_first)
    test = load(data, "test", folder=folder, limit=limit, channels_first=channels_first)
    check_same_classes(names, test[2])
    out.parent.mkdir(parents=True, exist_ok=True)
    recipe = replace(RECIPES[data], bfloat16=model != "lenet5")
    if epochs is not None:
        recipe = replace(recipe, epochs=epochs)
    shape = x.shape[1:] if channels_first else (x.shape[3], x.shape[1], x.shape[2])
    trained = Trained(model, shape, len(names), MEAN, STD)
    training.seed_weights(framework, seed)
    classifier = classifiers.as_classifier(
        trained.create(framework),
        framework,
        trained.input_shape(framework),
        len(names),
        preprocessing=(MEAN, STD),
    )
    training.train(classifier.model, x, y, recipe, mean=MEAN, std=STD, seed=seed, verbose=verbose)
    reached = accuracy(test[1], classifier.predict(test[0]))
    note = f"{data}, {framework}, {recipe}, seed {seed}: {reached} of {reached.n} test images"
    classifiers.save(out, classifier.model, replace(trained, note=note))
    return reached
