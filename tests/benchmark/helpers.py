"""What tests of the benchmark share: small grids, and attacks and defences of the user's own."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import ProjectedGradientDescent
from art.defences.preprocessor.preprocessor import Preprocessor
from safetensors.numpy import load_file

from art_nip.benchmark import Benchmark
from tests.helpers import to_framework

FEW, BANK = 10, 60


CELL = ["attack", "defence", "protocol", "threat"]


PGD = {"eps": 0.2, "eps_step": 0.05, "max_iter": 6, "num_random_init": 0}


COSTS = {"seconds_per_image", "forward_passes", "backward_passes"}


def data(digits, framework, n=FEW, bank=BANK):
    """Return images, labels, and a bank of other images."""
    (x, y), (others, labels) = digits["test"], digits["bank"]
    known = (to_framework(others[:bank], framework), labels[:bank])
    return to_framework(x[:n], framework), y[:n].copy(), known


def make(classifier, attack, defences=(), **keywords):
    return Benchmark(classifier, attack, defences, verbose=False, **keywords)


def rows(table, **where):
    for column, value in where.items():
        table = table[table[column] == value]
    return table


def figure(table, metric, **where):
    (row,) = rows(table, metric=metric, **where).to_dict("records")
    return row


def written(folder):
    """Return the table of a folder."""
    table = pd.read_csv(folder / "table.csv", keep_default_na=False)
    numbers = ["value", "low", "high", "seconds", "eps"]
    return table.assign(**{name: pd.to_numeric(table[name]) for name in numbers})


def untimed(table):
    table = table[table.metric != "seconds_per_image"].drop(columns="seconds")
    return table.sort_values([*CELL, "metric"]).reset_index(drop=True)


def cell_of(benchmark, arrays, **where):
    """Return a cell of the grid, with the keys of its files."""
    with benchmark._grid(*arrays) as grid:
        cells = grid.cells
    (cell,) = (
        cell for cell in cells if all(getattr(cell, name) == value for name, value in where.items())
    )
    return cell


def crafted(folder, benchmark, arrays, **where):
    """Return the adversarial examples that a cell used."""
    key = cell_of(benchmark, arrays, **where).adversarial
    return load_file(folder / "adversarial" / f"{key}.safetensors")["x"]


def keys(benchmark, arrays):
    """Return the keys of all files of a benchmark."""
    with benchmark._grid(*arrays) as grid:
        cells = grid.cells
    return {key for cell in cells for key in (cell.adversarial, cell.predictions) if key}


def files(folder):
    """Return when each result was written.

    Unlike `Path.rglob`, `os.walk` goes on where a file goes that a run beside it has written.
    """
    return {
        name: (Path(parent) / name).stat().st_mtime_ns
        for parent, _, names in os.walk(folder)
        if Path(parent).name in ("adversarial", "predictions")
        for name in names
        if name.endswith(".safetensors")
    }


SMALL = {
    "bim": {"max_iter": 3}, "mifgsm": {"max_iter": 3}, "pgd": {"max_iter": 3},
    "jsma": {"gamma": 0.02}, "deepfool": {"max_iter": 3, "nb_grads": 3}, "uap": {"max_iter": 1},
    "pixel": {"max_iter": 1, "th": 5}, "boundary": {"max_iter": 3},
}  # fmt: skip


LIMITS = {"jsma": 2, "pwa": 3, "pixel": 2, "boundary": 2}


DEFENCES = ("ss", "cbdr", "jpeg", "tvm", "nip")


PROTOCOLS = ("held-out", "leaked")


def classes(measured, images):
    return measured.classifier.predict(images).argmax(axis=1)


def decibels(reference, images):
    return 10 * np.log10(1 / np.square(reference - images).mean(axis=(1, 2, 3)))


def kept_neurons(measured, images):
    """Return the shares of the five most important neurons that stay so."""
    nip = measured.nips["held-out"]
    before, after = (np.argsort(-nip.influence(each), axis=1)[:, :5]
                     for each in (measured.x, images))  # fmt: skip
    shares = []
    for a, b in zip(before, after, strict=True):
        shares.append(len({*a} & {*b}) / len({*a} | {*b}))
    return np.array(shares)


class Shift(EvasionAttack):
    """Moves images along the gradient; may be told to fail."""

    attack_params = (*EvasionAttack.attack_params, "by")
    _estimator_requirements = ()
    broken = False

    def __init__(self, estimator, by=0.2):
        super().__init__(estimator=estimator)
        self.by = by

    def generate(self, x, y=None, **kwargs):
        if self.broken:
            raise RuntimeError("out of\norder")
        step = np.sign(self.estimator.loss_gradient(x, np.eye(10)[y]))
        return np.clip(x + self.by * step, 0, 1)


class Darken(Preprocessor):
    """Makes images darker; what it learns is by how much. May be told to fail."""

    params = ("by",)
    broken_call = broken_fit = False

    def __init__(self, by=0.5):
        super().__init__(is_fitted=True)
        self.by = by

    def fit(self, x, y=None, **kwargs):
        if self.broken_fit:
            raise RuntimeError("nothing to learn")
        self.by = float(x.mean())

    def __call__(self, x, y=None):
        if self.broken_call:
            raise RuntimeError("too dark")
        return x * (1 - self.by), y


def pgd(classifier, **keywords):
    return ProjectedGradientDescent(
        classifier, **{"eps": 0.2, "eps_step": 0.05, "max_iter": 6, "verbose": False, **keywords}
    )


class Noisy(Preprocessor):
    """Draws from a generator of its own, which remembers."""

    params = ("scale",)

    def __init__(self, scale=0.2):
        super().__init__(is_fitted=True)
        self.scale, self.generator = scale, np.random.default_rng(0)

    def __call__(self, x, y=None):
        return np.clip(x + self.scale * self.generator.normal(size=x.shape), 0, 1), y


def black_box(**keywords):
    from art.estimators.classification import BlackBoxClassifier

    return BlackBoxClassifier(
        lambda x: np.zeros((len(x), 10)), (1, 28, 28), 10, **{"clip_values": (0, 1), **keywords}
    )


def cached(benchmark, *arrays):
    plan = benchmark.plan(*arrays)
    return plan.set_index(["attack", "defence"]).cached
