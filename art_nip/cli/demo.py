"""`art-nip demo`: NIP and two other defences on real MNIST digits, in about two minutes.

It trains LeNet-5 first. Then it is a benchmark like any other, with two more pictures.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from threadpoolctl import threadpool_limits

from art_nip import NIPPreprocessor, attacks, plots, zoo
from art_nip.benchmark import Attack, Benchmark, Defence
from art_nip.cli.tables import success_rates
from art_nip.data import Images, Labels, mnist, split
from art_nip.metrics import successful
from art_nip.utils.frameworks import Framework
from art_nip.utils.optional import require
from art_nip.zoo import training
from art_nip.zoo.classifiers import as_classifier
from art_nip.zoo.training import Recipe

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CLASSES = 10

ATTACKS: dict[str, tuple[str, dict[str, Any]]] = {
    "FGSM ε=0.1": ("fgsm", {"eps": 0.1}),
    "PGD ε=0.1": ("pgd", {"eps": 0.1, "eps_step": 0.02, "max_iter": 20}),
    "DeepFool": ("deepfool", {}),
}
"""Name and parameters of each attack, by its label."""

DEFENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "SpatialSmoothing 2×2": ("ss", {}),
    "JpegCompression 80": ("jpeg", {}),
    "NIP": ("nip", {}),
    "NIP nearest": ("nip", {"retrieval": "nearest"}),
    "NIP class": ("nip", {"retrieval": "class"}),
}
"""Name and parameters of each defence, by its label."""

IMAGES_FOR_PICTURES = 100
"""The number of images that are attacked for the pictures."""

EXAMPLES = 5
"""The number of these images that are shown."""

EXPLANATION = """\
held-out: what learns was fitted on other images than those attacked, as in real use.
leaked: it was fitted on the benign originals of the very images attacked, which nobody who is
attacked has. The paper's DSR near 100 % arises only so, where a retrieval finds an image's own
original again, as "NIP nearest" does (docs/results/ladder.md has this for three models).
"NIP class" asks a second classifier, of early layers; all of its gain comes from there.
oblivious: the attacks do not know of the defence. Attacks that go through a defence get past it
far more often; `art-nip benchmark` measures those too."""


def run(arguments: argparse.Namespace) -> int:
    """Run the demo, print its tables, and return the exit status."""
    verbose = not arguments.quiet
    framework = Framework(arguments.framework)
    require(
        framework.package,
        to=f"run the demo in {framework.label}",
        install=f"art-nip[{framework}]",
    )
    print(success_rates(compare(framework, arguments.out, seed=arguments.seed, verbose=verbose)))
    if verbose:
        print(EXPLANATION)
        print(f"Written to {arguments.out}: report.html, table.csv, examples.png, influence.png")
    return 0


def compare(
    framework: Framework,
    out: Path,
    *,
    seed: int = 0,
    n_train: int = 3500,
    n_bank: int = 1000,
    n_test: int = 500,
    epochs: int = 10,
    verbose: bool = True,
) -> pd.DataFrame:
    """Train, run the benchmark, draw the pictures, and return the table.

    :param framework: the framework to train and attack in.
    :param out: the store of the benchmark, with its table and report; examples.png and
        influence.png are written beside them.
    :param seed: seed of the split, the weights and the order of training.
    :param n_train: number of images to train on; this number and the next two are at least 10 each,
        and 5,000 together or at most 4,990.
    :param n_bank: number of images that NIP takes its candidates from.
    :param n_test: number of images attacked.
    :param epochs: passes over the training images.
    :param verbose: whether to show progress, on standard error.
    :raises ValueError: if the numbers of images are not possible.
    :raises OSError: if the folder cannot be written.
    """
    out.mkdir(parents=True, exist_ok=True)
    # One thread: the numbers then do not depend on how many cores there are, and LeNet-5 is too
    # small to gain from more.
    with threadpool_limits(limits=1):
        sizes = (n_train, n_bank, n_test)
        classifier, bank, test = trained(framework, sizes, seed, epochs, verbose)
        benchmark = Benchmark(
            classifier,
            [Attack(name, label, given, limit=n_test) for label, (name, given) in ATTACKS.items()],
            [Defence(name, label, given) for label, (name, given) in DEFENCES.items()],
            protocols=["held-out", "leaked"],
            store=out,
            seed=seed,
            name=f"NIP on MNIST: LeNet-5 in {framework.label}",
            data="mnist",
            verbose=verbose,
        )
        table = benchmark.run(*test, bank=bank)
        benchmark.report()
        where = f"LeNet-5 on MNIST, {framework.label}, held-out, oblivious"
        for name, figure in pictures(classifier, bank, test, where).items():
            figure.savefig(out / name)
    return table


def trained(
    framework: Framework, sizes: tuple[int, int, int], seed: int, epochs: int, verbose: bool
) -> tuple[Any, tuple[Images, Labels], tuple[Images, Labels]]:
    """Return LeNet-5 as an ART classifier, images to fit on, and images to attack.

    :param sizes: number of images to train on, to fit on and to attack; no image is in two parts.
    """
    # Hide TensorFlow's notes on the processor, and its warnings of slow gradients in ART's loops.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    logging.getLogger("tensorflow").setLevel("ERROR")
    channels_first = framework == Framework.PYTORCH
    train, bank, test = split(*mnist(channels_first=channels_first), sizes, seed)
    shape = train[0].shape[1:]
    training.seed_weights(framework, seed)
    model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=CLASSES)
    classifier = as_classifier(model, framework, shape, CLASSES)
    recipe = Recipe(epochs=epochs, batch_size=50, shift=1, bfloat16=False)
    training.train(classifier.model, *train, recipe, seed=seed, verbose=verbose)
    return classifier, bank, test


def pictures(
    classifier: Any, bank: tuple[Images, Labels], test: tuple[Images, Labels], where: str
) -> Mapping[str, Figure]:
    """Return figures by file name: digits before and after, and neuron influence (Fig. 2).

    :param where: model and data of the figures, for their headings.
    """
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(*bank)
    x, y = test[0][:IMAGES_FOR_PICTURES], test[1][:IMAGES_FOR_PICTURES]
    benign = classifier.predict(x).argmax(axis=1)
    influences = {}
    for label, (name, parameters) in ATTACKS.items():
        x_adv = attacks.get(name).create(classifier, **parameters).generate(x, y)
        adversarial = classifier.predict(x_adv).argmax(axis=1)
        hit = successful(y, benign, adversarial)
        if hit.any():
            influences[label] = (nip.influence(x[hit]), nip.influence(x_adv[hit]))
    # For DeepFool, the last attack: a success for each digit, repaired or not; else a failure.
    order = np.argsort(~hit, kind="stable")
    _, first = np.unique(y[order], return_index=True)
    shown = order[first[:EXAMPLES]]
    x_def, _ = nip(x_adv[shown])
    examples = plots.image_grid(
        x[shown],
        x_adv[shown],
        x_def,
        nip.candidates.perturbations[nip.retrieve(x_adv[shown])],
        labels=y[shown],
        predictions={
            "benign": benign[shown],
            "adversarial": adversarial[shown],
            "defended": classifier.predict(x_def).argmax(axis=1),
        },
        channels_first=classifier.channels_first,
        title=f"NIP on {label}\n{where}",
    )
    title = f"Neuron influence on successful attacks\n{where}"
    bars = plots.influence_bars(influences, title=title)
    return {"examples.png": examples, "influence.png": bars}
