"""How well adversarial images are detected, by NIP's signals and by ART's detectors.

    OMP_NUM_THREADS=1 python experiments/detection.py gtsrb-lenet5 \
        --data data --weights weights [--adaptive 200] [--detectors NIP]

NIP is fitted on images of the train file, in the order of their tracks. ART's binary detectors
learn on 3,000 images of it, each benign and under PGD (8/255). Thresholds are found on benign
images of the test file that nothing else uses. Oblivious attacks do not know of a detector; an
adaptive one is made for it (SelectivePGD), against δ a random walk, as it has no gradient here.

AUC: benign images against those adversarial images that the model gets wrong and whose benign
version it gets right. Its intervals are of a bootstrap over images (SciPy, percentile, 1,000
resamples), in which an image is drawn with its adversarial version.
"""

import argparse
import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch
from art.defences.detector.evasion import (
    BinaryActivationDetector,
    BinaryInputDetector,
    SubsetScanningDetector,
)
from art.defences.detector.evasion.subsetscanning.scanner import Scanner
from art.estimators.classification import PyTorchClassifier
from class_evidence import Setting, fitted, named, pgd
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from art_nip import data, zoo
from art_nip.detection import NIPDetector, SelectivePGD
from art_nip.metrics import Proportion
from art_nip.nip.retrieval import ClassEvidence
from art_nip.utils.seeds import seeded

Images = np.ndarray[Any, np.dtype[np.float32]]
Scores = np.ndarray[Any, np.dtype[np.float64]]

EPS = 8 / 255
RATE = 0.05
LEARNED_ON = 3000
ATTACKS = {
    "FGSM 8": named("fgsm", eps=8 / 255),
    "PGD 2": pgd(2),
    "PGD 8": pgd(8),
    "DeepFool": named("deepfool"),
}


@dataclass
class Signal:
    """A detector as a score of images; high is adversarial.

    :param scores: function from images to scores.
    :param score_gradient: function from images to the gradient of the scores.
    :param rank: what scores the classes that an adaptive attack goes to, if not the model alone.
    :param adaptive: whether an adaptive attack is made for it.
    """

    scores: Callable[[Images], Scores]
    score_gradient: Callable[[Images], Images]
    rank: Callable[[Images], Images] | None = None
    adaptive: bool = True


def wander(x: Images) -> Images:
    """A random direction: of what has no gradient, an attack keeps the best of many images."""
    return np.random.default_rng(int(abs(x).sum() * 1000)).normal(size=x.shape).astype(np.float32)


def by_nip(setting: Setting, bank: int, score: str) -> Signal:
    parameters = {"retrieval": ClassEvidence()} if score == "evidence" else {}
    nip = fitted(setting, bank, verbose=False, **parameters)
    detector = NIPDetector(setting.classifier, nip, score=score)
    if score == "evidence":
        return Signal(detector.scores, detector.score_gradient, nip.evidence)
    return Signal(detector.scores, wander)


def by_confidence(classifier: PyTorchClassifier) -> Signal:
    """The usual baseline: minus the log-probability of the predicted class."""

    def gradient(x: Images) -> Images:
        labels = np.eye(classifier.nb_classes, dtype=np.float32)[classifier.predict(x).argmax(1)]
        return np.asarray(classifier.loss_gradient(x, labels))

    def scores(x: Images) -> Scores:
        logits = torch.tensor(classifier.predict(x), dtype=torch.float64)
        return -torch.log_softmax(logits, 1).max(1).values.numpy()

    return Signal(scores, gradient)


def as_classifier(model: torch.nn.Module, classifier: PyTorchClassifier) -> PyTorchClassifier:
    return PyTorchClassifier(
        model,
        loss=torch.nn.CrossEntropyLoss(),
        optimizer=torch.optim.Adam(model.parameters(), lr=1e-3),
        input_shape=classifier.input_shape,
        nb_classes=2,
        clip_values=classifier.clip_values,
        preprocessing=(0.5, 0.25),
    )


def by_binary(whole: PyTorchClassifier) -> Signal:
    """What a classifier of benign and adversarial images says."""

    def scores(x: Images) -> Scores:
        logits = np.asarray(whole.predict(x), np.float64)
        return logits[:, 1] - logits[:, 0]

    def gradient(x: Images) -> Images:
        gradients = np.asarray(whole.class_gradient(x))
        return gradients[:, 1] - gradients[:, 0]

    return Signal(scores, gradient)


def learning_images(setting: Setting) -> tuple[Images, np.ndarray]:
    """What ART's detectors learn: images, benign and attacked, and one-hot labels."""
    x, y = setting.bank
    rows = np.sort(np.random.default_rng(1).permutation(len(x))[:LEARNED_ON])
    attacked = np.asarray(pgd(8)(setting.classifier, x[rows], y[rows]), np.float32)
    labels = np.eye(2, dtype=np.float32)[np.repeat([0, 1], len(rows))]
    return np.concatenate([x[rows], attacked]), labels


def by_input(setting: Setting) -> Signal:
    """ART's BinaryInputDetector, a LeNet-5."""
    model = zoo.create("lenet5", input_shape=setting.classifier.input_shape, nb_classes=2)
    detector = BinaryInputDetector(as_classifier(model, setting.classifier))
    detector.fit(*learning_images(setting), batch_size=64, nb_epochs=10)
    return by_binary(detector.detector)


def by_activation(setting: Setting) -> Signal:
    """ART's BinaryActivationDetector: two layers on what the features give."""
    classifier = setting.classifier
    features, flatten, _ = classifier.model.children()
    width = classifier.get_activations(setting.x[:1], "flatten", 1).shape[1]
    head = torch.nn.Sequential(
        torch.nn.Linear(width, 128), torch.nn.ReLU(), torch.nn.Linear(128, 2)
    )
    of_layer = PyTorchClassifier(
        head, torch.nn.CrossEntropyLoss(), (width,), 2, torch.optim.Adam(head.parameters(), lr=1e-3)
    )
    detector = BinaryActivationDetector(classifier, of_layer, "flatten")
    detector.fit(*learning_images(setting), batch_size=64, nb_epochs=20)
    # The same detector as one model from images, for the attack.
    whole = torch.nn.Sequential(features, flatten, head).eval()
    return by_binary(as_classifier(whole, classifier))


def by_subsets(setting: Setting) -> Signal:
    """ART's SubsetScanningDetector, of single images."""
    detector = SubsetScanningDetector(
        setting.classifier,
        setting.bank[0][:: len(setting.bank[0]) // 500],
        "flatten",
        verbose=False,
    )

    def scores(x: Images) -> Scores:
        return np.array(
            [
                Scanner.fgss_individ_for_nets(ranges, score_function=detector.scoring_function)[0]
                for ranges in detector._calculate_pvalue_ranges(x)
            ]
        )

    return Signal(scores, wander, adaptive=False)


DETECTORS: dict[str, Callable[[Setting, int], Signal]] = {
    "NIP, evidence": lambda setting, bank: by_nip(setting, bank, "evidence"),
    "NIP, δ": lambda setting, _: by_nip(setting, 1000, "similarity"),
    "model's confidence": lambda setting, _: by_confidence(setting.classifier),
    "BinaryInputDetector": lambda setting, _: by_input(setting),
    "BinaryActivationDetector": lambda setting, _: by_activation(setting),
    "SubsetScanningDetector": lambda setting, _: by_subsets(setting),
}


def auc(benign: Scores, adversarial: Scores, hit: np.ndarray) -> str:
    """The area under the ROC curve, with its interval.

    :param benign: scores of N benign images.
    :param adversarial: scores of the first images' adversarial versions.
    :param hit: which of them count.
    """
    n = len(hit)
    if hit.sum() < 5:
        return "–"

    def area(images: np.ndarray) -> float:
        attacked = images[images < n]
        of = adversarial[attacked][hit[attacked]]
        if not len(of):
            return float("nan")
        truth = np.repeat([0, 1], [len(images), len(of)])
        return float(roc_auc_score(truth, np.concatenate([benign[images], of])))

    everything = np.arange(len(benign))
    interval = bootstrap(
        (everything,), area, n_resamples=1000, vectorized=False, method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return f"{area(everything):.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def threshold(validation: Scores) -> float:
    return float(np.sort(validation)[int(np.ceil((len(validation) + 1) * (1 - RATE))) - 1])


def share(hits: np.ndarray) -> str:
    rate = Proportion.of(hits)
    return f"{rate.value:.2f} [{rate.low:.2f}, {rate.high:.2f}]" if rate.n else "–"


def adaptive_row(
    setting: Setting, signal: Signal, limit: float, right: np.ndarray, options: Any
) -> list[str]:
    """What an attack that knows of the detector reaches."""
    n = options.adaptive
    x, y = setting.x[:n], setting.y[:n]
    attack = SelectivePGD(
        setting.classifier, signal, eps=EPS, max_iter=options.steps, targets=options.targets,
        rank=signal.rank, seed=0,
    )  # fmt: skip
    attacked = attack.generate(x, y)
    wrong = setting.classifier.predict(attacked).argmax(1) != y
    scores = signal.scores(attacked)
    unseen = (wrong & (scores <= limit))[right[:n]]
    return [
        auc(signal.scores(setting.x), scores, wrong & right[:n]),
        share(wrong[right[:n]]),
        share(unseen),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("setting", choices=("gtsrb-lenet5", "gtsrb-resnet20"))
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--images", type=int, default=300, help="of the test file")
    parser.add_argument("--attacked", type=int, default=300, help="the first of these")
    parser.add_argument("--adaptive", type=int, default=200, help="adaptively attacked, likewise")
    parser.add_argument("--validation", type=int, default=1000, help="further ones, for thresholds")
    parser.add_argument("--bank", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=40, help="of the adaptive attack")
    parser.add_argument("--targets", type=int, default=3, help="of the adaptive attack")
    parser.add_argument("--detectors", nargs="+", default=[""], help="by the beginnings of names")
    options = parser.parse_args()
    setting = Setting(options.setting, options.data, options.weights, False, options.images)
    n = options.images
    others, _, _ = data.load(
        setting.data, "test", folder=options.data, limit=n + options.validation
    )
    classifier, x, y = setting.classifier, setting.x, setting.y
    signals = {}
    for name, make in DETECTORS.items():
        if name.startswith(tuple(options.detectors)):
            with seeded(0):
                signals[name] = make(setting, options.bank)
    attacked = {}
    for name, attack in ATTACKS.items():
        with seeded(0):
            attacked[name] = np.asarray(
                attack(classifier, x[: options.attacked], y[: options.attacked])
            )
    right = classifier.predict(x).argmax(1) == y
    hits = {
        name: right[: len(images)] & (classifier.predict(images).argmax(1) != y[: len(images)])
        for name, images in attacked.items()
    }
    print(f"{options.setting}, {n} images, {platform.machine()}, {date.today()}\n", flush=True)
    heads = [f"{name} ({hit.sum()})" for name, hit in hits.items()]
    print(f"| oblivious: AUC | {' | '.join(heads)} | found of PGD 8 | false positives |")
    print("|---" * (3 + len(heads)) + "|", flush=True)
    limits = {}
    for name, signal in signals.items():
        benign = signal.scores(x)
        limits[name] = threshold(signal.scores(others[n:]))
        found = {attack: signal.scores(images) for attack, images in attacked.items()}
        areas = [auc(benign, found[attack], hits[attack]) for attack in attacked]
        cells = [
            *areas,
            share((found["PGD 8"] > limits[name])[hits["PGD 8"]]),
            share(benign > limits[name]),
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
    print("\n| adaptive | AUC | model wrong | wrong and not detected |")
    print("|---|---|---|---|", flush=True)
    for name, signal in signals.items():
        if signal.adaptive:
            cells = adaptive_row(setting, signal, limits[name], right, options)
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
