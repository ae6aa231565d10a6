"""What NIP does on real images, and why the paper says something else: docs/expect.md's table.

    python experiments/expectations.py --data data --weights weights

VGG-19 on CIFAR-10, the paper's first model; test images that the bare model classifies correctly.
Attacks do not know of the defence (oblivious). Rows say where an image's inverse perturbation comes
from. "NIP" retrieves as the paper's equations say, "NIP nearest" by the neurons of an early layer.
A held-out bank is of other images; a leaked one is of the benign versions of the very images
that are attacked, which nobody has at hand.
"""

import argparse
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
from art.attacks.evasion import DeepFool, FastGradientMethod, ProjectedGradientDescent
from art.defences.preprocessor import SpatialSmoothing
from art.estimators.classification import PyTorchClassifier
from safetensors.numpy import load_file

from art_nip import NIPPreprocessor, zoo
from art_nip.data import parquet
from art_nip.metrics import Proportion, accuracy, defence_success_rate
from art_nip.nip import neurons
from art_nip.utils.ranges import PixelRange
from art_nip.zoo.classifiers import as_classifier

UNIT = PixelRange.of((0.0, 1.0))
Defence = Callable[[np.ndarray], np.ndarray]


def vgg19(weights: Path) -> PyTorchClassifier:
    model = zoo.create("vgg19-small", input_shape=(3, 32, 32), nb_classes=10)
    zoo.set_weights(model, load_file(weights / "cifar10-vgg19-small.safetensors"))
    return as_classifier(model.eval(), "pytorch", (3, 32, 32), 10, preprocessing=(0.5, 0.25))


def attacks(classifier: PyTorchClassifier) -> dict[str, object]:
    def pgd(eps: float) -> ProjectedGradientDescent:
        return ProjectedGradientDescent(
            classifier, eps=eps / 255, eps_step=eps / 255 / 4, max_iter=10, verbose=False
        )

    return {
        "FGSM 4/255": FastGradientMethod(classifier, eps=4 / 255),
        "PGD 2/255": pgd(2),
        "PGD 8/255": pgd(8),
        # ART's DeepFool fails with fewer gradients than classes; 0.02 is its authors' overshoot.
        "DeepFool": DeepFool(
            classifier, max_iter=10, epsilon=0.02, nb_grads=10, batch_size=200, verbose=False
        ),
    }


def defences(classifier: PyTorchClassifier, x: np.ndarray, bank: np.ndarray) -> dict[str, Defence]:
    def fitted(retrieval: str, x: np.ndarray, y: np.ndarray | None = None) -> NIPPreprocessor:
        nip = NIPPreprocessor.for_estimator(classifier, retrieval=retrieval)
        nip.fit(x, y)
        return nip

    held_out, leaked = fitted("similarity", *bank), fitted("similarity", x)
    nearest_held_out, nearest_leaked = fitted("nearest", *bank), fitted("nearest", x)
    rng = np.random.default_rng(0)

    def with_candidates(nip: NIPPreprocessor, indices: np.ndarray) -> Defence:
        perturbations = nip.candidates.perturbations[indices]
        return lambda images: neurons.defended(images, perturbations, 1.0, UNIT)

    smoothing = SpatialSmoothing(2, channels_first=True, clip_values=(0, 1))
    return {
        "none": lambda images: images,
        "NIP, held-out": lambda images: held_out(images)[0],
        "NIP, held-out, a random candidate": with_candidates(
            held_out, rng.integers(len(held_out.candidates), size=len(x))
        ),
        "NIP, leaked": lambda images: leaked(images)[0],
        "NIP, leaked, the image's own candidate": with_candidates(leaked, np.arange(len(x))),
        "NIP nearest, held-out": lambda images: nearest_held_out(images)[0],
        "NIP nearest, leaked": lambda images: nearest_leaked(images)[0],
        "SpatialSmoothing 2×2": lambda images: smoothing(images)[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of cifar10-*.parquet")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the VGG-19")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--bank", type=int, default=2000)
    options = parser.parse_args()
    classifier = vgg19(options.weights)
    x, y, _ = parquet(options.data / "cifar10-test.parquet", limit=2 * options.images)
    right = np.flatnonzero(classifier.predict(x).argmax(1) == y)[: options.images]
    x, y = x[right], y[right]
    bank = parquet(options.data / "cifar10-train.parquet", limit=options.bank)[:2]

    np.random.seed(0)  # noqa: NPY002 - ART draws from it
    attacked = {name: attack.generate(x, y) for name, attack in attacks(classifier).items()}
    print(f"{len(x)} images, bank of {options.bank}, {platform.machine()}, {date.today()}\n")
    print(f"| defence | benign | {' | '.join(attacked)} |\n|---|{'---|' * (1 + len(attacked))}")
    benign = classifier.predict(x)
    for name, defend in defences(classifier, x, bank).items():
        cells = [accuracy(y, classifier.predict(defend(x)))]
        for images in attacked.values():
            predictions = classifier.predict(images), classifier.predict(defend(images))
            cells.append(defence_success_rate(y, benign, *predictions))
        print(f"| {name} | {' | '.join(map(cell, cells))} |")


def cell(rate: Proportion) -> str:
    return f"{rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]"


if __name__ == "__main__":
    main()
