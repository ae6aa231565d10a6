"""What retrieval="class" repairs, and that its evidence alone repairs as much: its results page.

    OMP_NUM_THREADS=1 python experiments/class_evidence.py gtsrb-lenet5 \
        --data data --weights weights [--keep FOLDER] [--validate] [--evidence NAME …]

Held-out and oblivious: fitted on benign images of the train file, measured on the first images of
the test file, with attacks on the bare model. DSR counts adversarial examples that the bare model
gets wrong and whose benign version it gets right. A pass backwards counts as two forwards.

With --validate the last images of the train file stand in for those of the test file: for choosing
evidence. Models know them from their training, and on GTSRB they are frames of tracks that are
fitted on, so that only a comparison of rows says anything there.
"""

import argparse
import platform
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from expectations import cell, vgg19

from art_nip import NIPPreprocessor, attacks, data
from art_nip import defences as named_defences
from art_nip.data import parquet
from art_nip.estimators.pass_counting import counting
from art_nip.metrics import accuracy, defence_success_rate, successful
from art_nip.nip.retrieval import ClassEvidence, GradedViewEvidence, ShallowEvidence, ViewEvidence
from art_nip.utils.seeds import seeded
from art_nip.zoo.classifiers import load

Images = np.ndarray[Any, np.dtype[np.float32]]
EVIDENCE = {
    "shallow": ShallowEvidence(),
    "views": ViewEvidence(),
    "graded views": GradedViewEvidence(),
}
BASELINES: dict[str, tuple[str, dict[str, Any]]] = {
    "SpatialSmoothing 2×2": ("ss", {}),
    "JPEG 80": ("jpeg", {}),
    "total variance": ("tvm", {}),
}
SIMILARITY_BANK = 2000


class Setting:
    """A model, its data, and what is compared on them."""

    def __init__(self, name: str, folder: Path, weights: Path, validate: bool, n: int) -> None:
        self.data, _, model = name.partition("-")
        self.baselines, self.evidence = dict(BASELINES), ["shallow"]
        if model == "vgg19":
            # The best quality that kept 0.97 on the images on which graded views were chosen.
            self.baselines["JPEG 35"] = "jpeg", {"quality": 35}
            self.evidence = ["views", "graded views"]
            self.classifier = vgg19(weights)
        else:
            self.classifier = load(weights / f"{name}.safetensors", "pytorch")
        train = folder / f"{self.data}-train.parquet"
        x, y, _ = parquet(train)
        rows = np.arange(len(x))
        if validate:
            rows, held = rows[:-n], rows[-n:]
            self.x, self.y = x[held], y[held]
        else:
            self.x, self.y, _ = data.load(self.data, "test", folder=folder, limit=n)
        rows = rows[np.argsort(tracks(train)[rows], kind="stable")]
        self.bank = x[rows], y[rows]


def tracks(path: Path) -> np.ndarray:
    """Return the folder and track of each image, "00018/00022", or nothing where there is none."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        images = file.read(columns=["image.path"])["image"].to_pylist()
    paths = [image["path"] for image in images]
    return np.array([(path or "").partition("_")[0] for path in paths])


def pgd(eps: int, targeted: bool = False) -> Callable[..., Images]:
    def attack(classifier: PyTorchClassifier, x: Images, y: np.ndarray) -> Images:
        if not targeted:
            return attacks.get("pgd").create(classifier, eps=eps / 255).generate(x, y)
        of = ProjectedGradientDescent(
            classifier, eps=eps / 255, eps_step=eps / 4 / 255, max_iter=10, num_random_init=1,
            targeted=True, batch_size=128, verbose=False,
        )  # fmt: skip
        shift = np.random.default_rng(1).integers(1, classifier.nb_classes, len(y))
        return of.generate(x, (y + shift) % classifier.nb_classes)

    return attack


def named(name: str, **parameters: Any) -> Callable[..., Images]:
    return lambda classifier, x, y: (
        attacks.get(name).create(classifier, **parameters).generate(x, y)
    )


ATTACKS: dict[str, tuple[int | None, Callable[..., Images]]] = {
    "fgsm 4": (None, named("fgsm", eps=4 / 255)),
    "pgd 2": (None, pgd(2)),
    "pgd 4": (None, pgd(4)),
    "pgd 8": (None, pgd(8)),
    "targeted pgd 8": (None, pgd(8, targeted=True)),
    "deepfool": (200, named("deepfool")),
    "auna": (None, named("auna")),
    "auna, fine": (None, named("auna", steps=30, repeats=3, search_steps=10)),
    "hopskipjump": (50, named("hopskipjump")),
}
"""On how many images each is run, None for all, and the attack."""


def adversarial(setting: Setting, name: str, keep: Path | None, tag: str) -> Images:
    path = keep and keep / f"{tag}-{name.replace(' ', '-').replace(',', '')}.npy"
    if path and path.exists():
        return np.load(path)
    limit, attack = ATTACKS[name]
    with seeded(0):
        found = attack(setting.classifier, setting.x[:limit], setting.y[:limit])
    found = np.asarray(found, np.float32)
    if path:
        np.save(path, found)
    return found


def fitted(setting: Setting, bank: int | None, **parameters: Any) -> NIPPreprocessor:
    nip = NIPPreprocessor.for_estimator(setting.classifier, **parameters)
    x, y = setting.bank
    rows = slice(None)
    if bank is not None:
        rows = np.sort(np.random.default_rng(0).permutation(len(x))[:bank])
    nip.fit(x[rows], y[rows])
    return nip


def rows_of(
    setting: Setting, evidence: list[str], bank: int | None
) -> dict[str, Callable[[Images], np.ndarray]]:
    """Return for each row the function from images to classes."""
    classifier = setting.classifier

    def behind(defend: Callable[[Images], Any]) -> Callable[[Images], np.ndarray]:
        return lambda x: classifier.predict(np.float32(defend(x)[0])).argmax(1)

    rows = {"none": behind(lambda x: (x, None))}
    for label, (name, parameters) in setting.baselines.items():
        rows[label] = behind(named_defences.get(name).create(classifier, **parameters))
    small = min(bank or SIMILARITY_BANK, SIMILARITY_BANK)
    rows["NIP similarity"] = behind(fitted(setting, small, retrieval="similarity"))
    for name in evidence:
        nip = fitted(setting, bank, retrieval=ClassEvidence(EVIDENCE[name]), bank_dtype="uint8")
        rows[f"NIP class, {name}"] = attached(nip, classifier)
        rows[f"{name} evidence's label, no perturbation"] = label_of(nip)
    return rows


def attached(nip: NIPPreprocessor, classifier: PyTorchClassifier) -> Callable[[Images], np.ndarray]:
    # It shares NIP's pass: what was left alone is not classified twice.
    defended = nip.attach(classifier)
    return lambda x: defended.predict(x).argmax(axis=1)


def label_of(nip: NIPPreprocessor) -> Callable[[Images], np.ndarray]:
    return lambda x: nip.evidence(x).argmax(axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("setting", choices=("gtsrb-lenet5", "gtsrb-resnet20", "cifar10-vgg19"))
    parser.add_argument("--data", type=Path, required=True, help="folder of the parquet files")
    parser.add_argument("--weights", type=Path, required=True, help="folder of the weights")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--bank", type=int, help="fit on so many images only; all if not given")
    parser.add_argument("--keep", type=Path, help="folder where adversarial examples are kept")
    parser.add_argument("--validate", action="store_true", help="on images of the train file")
    parser.add_argument("--attacks", nargs="+", choices=ATTACKS, help="only these")
    parser.add_argument("--evidence", nargs="+", choices=EVIDENCE)
    options = parser.parse_args()
    setting = Setting(
        options.setting, options.data, options.weights, options.validate, options.images
    )
    classifier, y = setting.classifier, setting.y
    tag = f"{options.setting}-{'train' if options.validate else 'test'}-{options.images}"
    attacked = {
        name: adversarial(setting, name, options.keep, tag) for name in options.attacks or ATTACKS
    }
    benign = classifier.predict(setting.x).argmax(1)
    undefended = accuracy(y, benign).value
    bare = {name: classifier.predict(x).argmax(1) for name, x in attacked.items()}
    sizes = {name: successful(y[: len(p)], benign[: len(p)], p).sum() for name, p in bare.items()}
    print(f"{options.setting}, {len(y)} images, {platform.machine()}, {date.today()}\n")
    heads = [f"{name} ({sizes[name]})" for name in attacked]
    print(f"| defence | cost | benign | relative | {' | '.join(heads)} | mean |")
    print("|---" * (5 + len(heads)) + "|")
    for label, classes in rows_of(
        setting, options.evidence or setting.evidence, options.bank
    ).items():
        with seeded(0), counting(classifier) as passes:
            found = accuracy(y, classes(setting.x))
        cost = (passes.forward + 2 * passes.backward) / len(y)
        rates = []
        for name, x in attacked.items():
            n = len(x)
            with seeded(0):
                defended = classes(x)
            rates.append(defence_success_rate(y[:n], benign[:n], bare[name], defended))
        cells = [cell(rate) for rate in rates]
        mean = np.mean([rate.value for rate in rates])
        print(
            f"| {label} | {cost:.1f} | {cell(found)} | {found.value / undefended:.3f} | "
            f"{' | '.join(cells)} | {mean:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
