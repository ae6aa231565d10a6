"""The benchmark: its figures by hand, what it fits on what, what it keeps and what it refuses."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from art.attacks.attack import EvasionAttack
from art.attacks.evasion import AutoProjectedGradientDescent, ProjectedGradientDescent
from art.defences.preprocessor import (
    FeatureSqueezing,
    GaussianAugmentation,
    JpegCompression,
    SpatialSmoothing,
)
from art.defences.preprocessor.preprocessor import Preprocessor
from safetensors.numpy import load_file

from art_nip import NIPPreprocessor, attacks, zoo
from art_nip.benchmark import Attack, Benchmark, Defence
from art_nip.benchmark.schema import COLUMNS
from art_nip.metrics import wilson_interval
from art_nip.utils.seeds import seeded
from art_nip.zoo import training
from art_nip.zoo.classifiers import TrainedModel, load, save
from art_nip.zoo.training import Recipe
from tests.helpers import make_classifier, to_framework

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
    (cell,) = (
        cell
        for cell in benchmark._grid(*arrays).cells
        if all(getattr(cell, name) == value for name, value in where.items())
    )
    return cell


def crafted(folder, benchmark, arrays, **where):
    """Return the adversarial examples that a cell used."""
    key = cell_of(benchmark, arrays, **where).adversarial
    return load_file(folder / "adversarial" / f"{key}.safetensors")["x"]


def keys(benchmark, arrays):
    """Return the keys of all files of a benchmark."""
    cells = benchmark._grid(*arrays).cells
    return {key for cell in cells for key in (cell.adversarial, cell.predictions) if key}


def files(folder):
    """Return when each result was written."""
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).rglob("*.safetensors")
            if path.parent.name in ("adversarial", "predictions")}  # fmt: skip


@pytest.fixture
def arrays(digits, framework):
    return data(digits, framework)


# The paper's grid, made small

SMALL = {
    "bim": {"max_iter": 3}, "mifgsm": {"max_iter": 3}, "pgd": {"max_iter": 3},
    "jsma": {"gamma": 0.02}, "deepfool": {"max_iter": 3, "nb_grads": 3}, "uap": {"max_iter": 1},
    "pixel": {"max_iter": 1, "th": 5}, "boundary": {"max_iter": 3},
}  # fmt: skip
LIMITS = {"jsma": 2, "pwa": 3, "pixel": 2, "boundary": 2}
DEFENCES = ("ss", "cbdr", "jpeg", "tvm", "nip")
PROTOCOLS = ("held-out", "leaked")


@pytest.fixture(scope="module")
def grid(framework, lenet, digits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    chosen = [
        Attack(name, parameters=SMALL.get(name, {}), limit=LIMITS.get(name))
        for name in attacks.PAPER
    ]
    benchmark = make(
        make_classifier(framework, lenet[framework]),
        chosen,
        DEFENCES,
        protocols=PROTOCOLS,
        store=folder,
    )
    arrays = data(digits, framework)
    table = benchmark.run(*arrays)
    return SimpleNamespace(table=table, folder=folder, benchmark=benchmark, arrays=arrays)


def test_the_papers_grid_runs_without_an_error(grid):
    assert list(grid.table.columns) == list(COLUMNS)
    assert set(grid.table.error) == {""}
    assert len(attacks.PAPER) == 11


def test_each_cell_of_the_papers_grid_is_there(grid):
    expected = set(
        itertools.product(["benign", *attacks.PAPER], ["none", *DEFENCES], PROTOCOLS, ["oblivious"])
    )
    found = rows(grid.table, metric="accuracy")
    assert len(found) == len(expected)
    assert set(found[CELL].itertuples(index=False, name=None)) == expected


def test_each_attack_is_crafted_once_and_seen_by_all(grid):
    folders = {each.name: len(list(each.iterdir())) for each in grid.folder.iterdir()
               if each.is_dir()}  # fmt: skip
    # NIP has predictions for each protocol, the others for both.
    assert folders == {"adversarial": 11, "predictions": 12 * (1 + 4 + 2)}


def test_limits_are_respected(grid):
    found = rows(grid.table, metric="accuracy", defence="nip", protocol="held-out")
    for attack, n in found[["attack", "n"]].itertuples(index=False):
        assert n == LIMITS.get(attack, FEW), attack


def test_the_metrics_of_each_kind_of_cell(grid):
    seen = {"psnr", "tknc"}
    for cell, found in grid.table.groupby(CELL):
        attack, defence, _, _ = cell
        expected = {"accuracy"}
        if attack == "benign":
            expected |= COSTS | (seen if defence != "none" else set())
        else:
            own = {"asr", "l2", "linf"} | COSTS if defence == "none" else {"dsr"}
            expected |= own | seen
        assert set(found.metric) == expected, cell
        assert len(found) == len(expected)


def test_what_learns_nothing_is_the_same_in_both_protocols(grid):
    columns = [column for column in grid.table.columns if column != "protocol"]
    for defence in ("none", *DEFENCES):
        held_out, leaked = (
            rows(grid.table, defence=defence, protocol=protocol)[columns].reset_index(drop=True)
            for protocol in PROTOCOLS
        )
        assert held_out.equals(leaked) == (defence != "nip"), defence


def test_intervals_hold_their_values(grid):
    bounded = grid.table.dropna(subset=["value", "low"])
    assert (bounded.low <= bounded.value).all()
    assert (bounded.value <= bounded.high).all()
    rates = bounded[bounded.metric.isin(["accuracy", "asr", "dsr"])]
    for row in rates.to_dict("records"):
        bounds = wilson_interval(round(row["value"] * row["n"]), row["n"])
        assert (row["low"], row["high"]) == pytest.approx(bounds)


def test_eps_is_that_of_the_attack(grid):
    eps = grid.table.groupby("attack").eps.unique()
    assert eps["fgsm"] == eps["pgd"] == pytest.approx(8 / 255)
    assert np.isnan(eps["benign"]).all()
    assert np.isnan(eps["pwa"]).all()


def test_the_table_is_written_too(grid):
    pd.testing.assert_frame_equal(written(grid.folder), grid.table)


def test_costs_are_counted(grid):
    def passes(attack, defence):
        where = {"attack": attack, "defence": defence, "protocol": "held-out"}
        return tuple(
            figure(grid.table, f"{way}_passes", **where)["value"] for way in ("forward", "backward")
        )

    assert passes("benign", "none") == passes("benign", "jpeg") == (1, 0)
    assert passes("benign", "nip") == (2, 1)
    assert passes("fgsm", "none") == (1, 1)
    assert passes("bim", "none") == (3 + 2, 3)
    seconds = figure(grid.table, "seconds_per_image", attack="fgsm", protocol="held-out")
    assert 0 < seconds["value"] < seconds["seconds"]


def test_what_a_report_needs_is_described(grid, framework):
    described = json.loads((grid.folder / "benchmark.json").read_text())
    assert described["n_images"] == FEW
    assert described["n_bank"] == BANK
    assert described["channels_first"] == (framework == "pytorch")
    assert [each["label"] for each in described["attacks"]] == list(attacks.PAPER)
    assert [each["label"] for each in described["defences"]] == ["none", *DEFENCES]
    keys = set(described["adversarial"].values())
    assert keys == {path.stem for path in (grid.folder / "adversarial").iterdir()}
    images = load_file(grid.folder / "images.safetensors")
    assert np.array_equal(images["x"], grid.arrays[0])
    assert np.array_equal(images["y"], grid.arrays[1])


# Figures by hand


@pytest.fixture(scope="module")
def measured(framework, lenet, digits, tmp_path_factory):
    """PGD against JPEG and NIP, in both protocols and threats, one image labelled wrongly."""
    classifier = make_classifier(framework, lenet[framework])
    x, y, bank = data(digits, framework, n=30)
    y[0] = (y[0] + 1) % 10
    folder = tmp_path_factory.mktemp("measured")
    benchmark = make(
        classifier,
        [Attack("pgd", parameters=PGD), Attack("fgsm", label="half", limit=15)],
        ["jpeg", "nip"],
        protocols=PROTOCOLS,
        threats=["oblivious", "adaptive"],
        store=folder,
    )
    table = benchmark.run(x, y, bank)
    assert set(table.error) == {""}
    # By hand:
    adversarial = ProjectedGradientDescent(
        classifier, eps=0.2, eps_step=0.05, max_iter=6, verbose=False
    ).generate(x, y)
    nips = {}
    for protocol, (images, labels) in {"held-out": bank, "leaked": (x, y)}.items():
        nips[protocol] = NIPPreprocessor.for_estimator(classifier, verbose=False)
        nips[protocol].fit(images, labels)
    return SimpleNamespace(**locals())


def by_hand(measured, defence, protocol):
    """Return the function from images to what the classifier sees."""
    if defence == "nip":
        return lambda x: measured.nips[protocol](x)[0]
    if defence == "none":
        return lambda x: x
    first = measured.framework == "pytorch"
    return lambda x: JpegCompression((0, 1), quality=80, channels_first=first)(x)[0]


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


def assert_mean(row, values, most=np.inf):
    half = 1.959964 * values.std(ddof=1) / np.sqrt(len(values))
    low, high = np.clip([values.mean() - half, values.mean() + half], 0, most)
    expected = (values.mean(), low, high)
    assert (row["value"], row["low"], row["high"]) == pytest.approx(expected, rel=1e-4)
    assert row["n"] == len(values)


def assert_rate(row, hits):
    assert row["value"] == pytest.approx(hits.mean())
    assert (row["low"], row["high"]) == pytest.approx(wilson_interval(hits.sum(), len(hits)))
    assert row["n"] == len(hits)


def test_the_stored_examples_are_those_of_art(measured):
    stored = crafted(
        measured.folder, measured.benchmark, (measured.x, measured.y, measured.bank),
        attack="pgd", defence="none", protocol="held-out", threat="oblivious",
    )  # fmt: skip
    np.testing.assert_allclose(stored, measured.adversarial, atol=1e-6)
    assert stored.dtype == np.float32


def test_the_attack_by_hand(measured):
    where = {"attack": "pgd", "defence": "none", "protocol": "held-out", "threat": "oblivious"}
    before, after = classes(measured, measured.x), classes(measured, measured.adversarial)
    right = before == measured.y
    hit = right & (after != measured.y)
    assert 3 < hit.sum() < right.sum() < len(right)
    assert_rate(figure(measured.table, "accuracy", **where), after == measured.y)
    assert_rate(figure(measured.table, "asr", **where), hit[right])
    difference = (measured.adversarial - measured.x)[hit].reshape(hit.sum(), -1)
    assert_mean(figure(measured.table, "l2", **where), np.linalg.norm(difference, axis=1))
    assert figure(measured.table, "linf", **where)["value"] == pytest.approx(0.2, abs=1e-6)
    psnr = decibels(measured.x, measured.adversarial)[hit]
    assert_mean(figure(measured.table, "psnr", **where), psnr)
    kept = kept_neurons(measured, measured.adversarial)[hit]
    assert_mean(figure(measured.table, "tknc", **where), kept, most=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("defence", ["jpeg", "nip"])
def test_a_defence_by_hand(measured, defence, protocol):
    where = {"attack": "pgd", "defence": defence, "protocol": protocol, "threat": "oblivious"}
    seen = by_hand(measured, defence, protocol)(measured.adversarial)
    final = classes(measured, seen)
    before, after = classes(measured, measured.x), classes(measured, measured.adversarial)
    hit = (before == measured.y) & (after != measured.y)
    assert_rate(figure(measured.table, "accuracy", **where), final == measured.y)
    assert_rate(figure(measured.table, "dsr", **where), (final == measured.y)[hit])
    assert_mean(figure(measured.table, "psnr", **where), decibels(measured.x, seen)[hit])
    kept = kept_neurons(measured, seen)[hit]
    assert_mean(figure(measured.table, "tknc", **where), kept, most=1)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("defence", ["none", "jpeg", "nip"])
def test_benign_images_by_hand(measured, defence, protocol):
    where = {"attack": "benign", "defence": defence, "protocol": protocol, "threat": "oblivious"}
    seen = by_hand(measured, defence, protocol)(measured.x)
    right = classes(measured, seen) == measured.y
    assert_rate(figure(measured.table, "accuracy", **where), right)
    if defence != "none":
        assert_mean(figure(measured.table, "psnr", **where), decibels(measured.x, seen))
        kept = kept_neurons(measured, seen)
        assert_mean(figure(measured.table, "tknc", **where), kept, most=1)


def test_a_limited_attack_is_measured_on_the_first_images(measured):
    where = {"attack": "half", "defence": "jpeg", "protocol": "held-out", "threat": "oblivious"}
    stored = crafted(
        measured.folder, measured.benchmark, (measured.x, measured.y, measured.bank), **where
    )
    final = classes(measured, by_hand(measured, "jpeg", "")(stored))
    before, after = classes(measured, measured.x[:15]), classes(measured, stored)
    hit = (before == measured.y[:15]) & (after != measured.y[:15])
    assert_rate(figure(measured.table, "accuracy", **where), final == measured.y[:15])
    assert figure(measured.table, "dsr", **where)["n"] == hit.sum()


# Attacks that know of the defence


def defended_by_hand(measured, defence, protocol="held-out"):
    if defence == "nip":
        return measured.nips[protocol].attach(measured.classifier)
    jpeg = JpegCompression((0, 1), quality=80, channels_first=measured.framework == "pytorch")
    return make_classifier(
        measured.framework, measured.lenet[measured.framework], preprocessing_defences=jpeg
    )


@pytest.mark.parametrize(
    ("defence", "protocol"),
    [("jpeg", "held-out"), ("nip", "held-out"), ("nip", "leaked")],
)
def test_adaptive_examples_are_those_of_art_through_the_defence(measured, defence, protocol):
    where = {"attack": "pgd", "defence": defence, "protocol": protocol}
    arrays = (measured.x, measured.y, measured.bank)
    adaptive, oblivious = (
        crafted(measured.folder, measured.benchmark, arrays, **where, threat=threat)
        for threat in ("adaptive", "oblivious")
    )
    target = defended_by_hand(measured, defence, protocol)
    expected = ProjectedGradientDescent(
        target, eps=0.2, eps_step=0.05, max_iter=6, verbose=False
    ).generate(measured.x, measured.y)
    np.testing.assert_allclose(adaptive, expected, atol=1e-6)
    assert not np.allclose(adaptive, oblivious, atol=1e-3)
    np.testing.assert_allclose(oblivious, measured.adversarial, atol=1e-6)
    # And they are measured on the defended classifier:
    before, after = (target.predict(each).argmax(axis=1) for each in (measured.x, adaptive))
    right = before == measured.y
    found = figure(measured.table, "asr", **where, threat="adaptive")
    assert_rate(found, (after != measured.y)[right])
    hit = right & (after != measured.y)
    difference = (adaptive - measured.x)[hit].reshape(hit.sum(), -1)
    l2 = figure(measured.table, "l2", **where, threat="adaptive")
    assert_mean(l2, np.linalg.norm(difference, axis=1))


def test_going_through_no_defence_is_not_knowing_of_one(measured):
    columns = [column for column in measured.table.columns if column != "threat"]
    adaptive, oblivious = (
        rows(measured.table, defence="none", threat=threat)[columns].reset_index(drop=True)
        for threat in ("adaptive", "oblivious")
    )
    assert adaptive.equals(oblivious)


def test_success_is_of_the_defence_or_of_the_attack(measured):
    found = measured.table[measured.table.attack != "benign"]
    with_dsr = set(rows(found, metric="dsr")[["defence", "threat"]].itertuples(index=False))
    assert {tuple(each) for each in with_dsr} == {("jpeg", "oblivious"), ("nip", "oblivious")}
    for metric in ("asr", "l2", "linf", "forward_passes"):
        cells = rows(found, metric=metric)[["defence", "threat"]].itertuples(index=False)
        assert {tuple(each) for each in cells} == {
            ("none", "oblivious"), ("none", "adaptive"), ("jpeg", "adaptive"), ("nip", "adaptive")
        }  # fmt: skip


def test_attacking_through_nip_costs_twice_as_much(measured):
    where = {"attack": "half", "protocol": "held-out", "threat": "adaptive"}
    for way, factor in {"forward": 2, "backward": 2}.items():
        bare, nip = (
            figure(measured.table, f"{way}_passes", defence=defence, **where)["value"]
            for defence in ("none", "nip")
        )
        assert nip == factor * bare


# The user's own attacks and defences


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


def test_an_attack_of_art_gives_what_its_name_gives(classifier, arrays, tmp_path):
    named = Attack("pgd", "by name", parameters=PGD)
    benchmark = make(
        classifier, [pgd(classifier), named], ["nip", "jpeg"], store=tmp_path,
        threats=["oblivious", "adaptive"],
    )  # fmt: skip
    table = benchmark.run(*arrays)
    assert set(table.error) == {""}
    columns = [column for column in table.columns if column not in ("attack", "seconds")]
    own, by_name = (
        rows(table, attack=label)[columns][lambda t: t.metric != "seconds_per_image"]
        for label in ("ProjectedGradientDescent", "by name")
    )
    assert own.reset_index(drop=True).equals(by_name.reset_index(drop=True))
    assert (own.eps == 0.2).all()


def test_attacks_with_their_own_estimator_go_through_defences(classifier, arrays, tmp_path):
    """AutoPGD makes itself a classifier with another loss."""

    def apgd(estimator):
        return AutoProjectedGradientDescent(
            estimator, eps=0.2, eps_step=0.05, max_iter=4, nb_random_init=1, verbose=False,
            loss_type="cross_entropy",
        )  # fmt: skip

    benchmark = make(
        classifier, [apgd(classifier)], ["nip"], store=tmp_path, threats=["oblivious", "adaptive"]
    )
    assert set(benchmark.run(*arrays).error) == {""}
    where = {"attack": "AutoProjectedGradientDescent", "defence": "nip"}
    cell = cell_of(benchmark, arrays, **where, threat="adaptive")
    adaptive = crafted(tmp_path, benchmark, arrays, **where, threat="adaptive")
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(*arrays[2])
    with seeded(int(cell.adversarial[:8], 16)):
        expected = apgd(nip.attach(classifier)).generate(*arrays[:2])
    np.testing.assert_allclose(adaptive, expected, atol=1e-5)


def test_an_attack_of_the_users_own(classifier, arrays, tmp_path):
    x, y, _ = arrays
    table = make(classifier, [Shift(classifier), Attack(Shift(classifier, 0.1), "weak", limit=4)],
                 ["ss"], store=tmp_path).run(x, y)  # fmt: skip
    adversarial = Shift(classifier).generate(x, y)
    after = classifier.predict(adversarial.astype(np.float32)).argmax(axis=1)
    where = {"defence": "none"}
    assert figure(table, "accuracy", attack="Shift", **where)["value"] == (after == y).mean()
    assert figure(table, "accuracy", attack="weak", **where)["n"] == 4
    assert np.isnan(rows(table, attack="Shift").eps).all()


def test_a_fitted_nip_is_fitted_anew_and_left_as_it_was(classifier, arrays, images, tmp_path):
    x, y, bank = arrays
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False, k1=3)
    nip.fit(images["train"][0][:50], images["train"][1][:50])
    before, fit = nip(x)[0], nip._fitted
    defences = {
        "mine": nip,
        "named": Defence("nip", parameters={"k1": 3}),
        "jpeg": JpegCompression((0, 1), quality=10, channels_first=x.shape[1] == 1),
    }
    attack = Attack("pgd", parameters=PGD)
    table = make(classifier, [attack], defences, store=tmp_path, protocols=PROTOCOLS).run(*arrays)
    for protocol, (seen, labels) in {"held-out": bank, "leaked": (x, y)}.items():
        expected = NIPPreprocessor.for_estimator(classifier, verbose=False, k1=3)
        expected.fit(seen, labels)
        found = figure(table, "psnr", attack="benign", defence="mine", protocol=protocol)
        assert found["value"] == pytest.approx(decibels(x, expected(x)[0]).mean(), rel=1e-5)
        by_name = figure(table, "psnr", attack="benign", defence="named", protocol=protocol)
        assert by_name["value"] == found["value"]
    assert nip._fitted is fit
    assert np.array_equal(nip(x)[0], before)
    jpeg = defences["jpeg"](x)[0]
    found = figure(table, "psnr", attack="benign", defence="jpeg", protocol="held-out")
    assert found["value"] == pytest.approx(decibels(x, jpeg).mean(), rel=1e-5)


def test_a_defence_of_the_users_own_that_learns(classifier, arrays, tmp_path):
    x, _, bank = arrays
    darken = Darken()
    attack = Attack("pgd", parameters=PGD)
    table = make(classifier, [attack], [darken], store=tmp_path, protocols=PROTOCOLS).run(*arrays)
    for protocol, images in {"held-out": bank[0], "leaked": x}.items():
        found = figure(table, "psnr", attack="benign", defence="Darken", protocol=protocol)
        expected = decibels(x, x * (1 - images.mean())).mean()
        assert found["value"] == pytest.approx(expected, rel=1e-5)
    assert darken.by == 0.5


@pytest.fixture(scope="module")
def retrained(lenet, digits):
    """Another LeNet-5, trained on other images, in both frameworks."""
    training.seed_weights("pytorch", 1)
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    x, y = digits["train"]
    recipe = Recipe(epochs=2, batch_size=64, bfloat16=False)
    training.train(model, x[:1500], y[:1500], recipe, verbose=False)
    keras_model = zoo.create(
        "lenet5", framework="tensorflow", input_shape=(28, 28, 1), nb_classes=10
    )
    zoo.copy_weights(model, keras_model)
    return {"pytorch": model.eval(), "tensorflow": keras_model}


def test_a_trained_classifier_is_a_defence(framework, classifier, retrained, arrays, tmp_path):
    x, y, _ = arrays
    other = make_classifier(framework, retrained[framework])
    benchmark = make(
        classifier, [pgd(classifier)], {"trained": other}, store=tmp_path,
        threats=["oblivious", "adaptive"],
    )  # fmt: skip
    table = benchmark.run(x, y)
    assert set(table.error) == {""}
    examples = {"oblivious": pgd(classifier).generate(x, y), "adaptive": pgd(other).generate(x, y)}
    for threat, adversarial in examples.items():
        where = {"attack": "ProjectedGradientDescent", "defence": "trained", "threat": threat}
        stored = crafted(tmp_path, benchmark, arrays, **where)
        np.testing.assert_allclose(stored, adversarial, atol=1e-6)
        expected = (other.predict(adversarial).argmax(axis=1) == y).mean()
        assert figure(table, "accuracy", **where)["value"] == pytest.approx(expected)
    # What they see says nothing of the neurons of another model.
    assert not set(rows(table, defence="trained").metric) & {"psnr", "tknc"}


def test_a_defence_stands_before_those_that_the_classifier_has(framework, lenet, arrays, tmp_path):
    """For benign images, oblivious attacks and adaptive ones alike."""
    from art.defences import preprocessor

    first = framework == "pytorch"
    suffix = "PyTorch" if first else "TensorFlowV2"
    smooth = getattr(preprocessor, f"SpatialSmoothing{suffix}")(3, channels_first=first)
    smoothing = make_classifier(framework, lenet[framework], preprocessing_defences=smooth)
    x, y, bank = arrays[0][:6], arrays[1][:6], arrays[2]
    attack = pgd(smoothing, max_iter=3, eps_step=0.1)
    threats = ["oblivious", "adaptive"]
    benchmark = make(smoothing, [attack], ["nip"], store=tmp_path, threats=threats)
    table = benchmark.run(x, y, bank)
    assert set(table.error) == {""}
    nip = NIPPreprocessor.for_estimator(smoothing, verbose=False)
    nip.fit(*bank)
    both = make_classifier(framework, lenet[framework], preprocessing_defences=[nip, smooth])
    where = {"attack": "ProjectedGradientDescent", "defence": "nip", "threat": "adaptive"}
    stored = crafted(tmp_path, benchmark, (x, y, bank), **where)
    expected = pgd(both, max_iter=3, eps_step=0.1).generate(x, y)
    np.testing.assert_allclose(stored, expected, atol=1e-6)
    found = figure(table, "accuracy", **where)
    assert found["value"] == pytest.approx((both.predict(stored).argmax(axis=1) == y).mean())
    assert smoothing.preprocessing_defences == [smooth]


def test_defences_that_leave_the_range_are_measured(classifier, arrays, tmp_path):
    noise = GaussianAugmentation(sigma=0.5, augmentation=False, apply_fit=False, apply_predict=True)
    table = make(classifier, ["fgsm"], {"noise": noise}, store=tmp_path).run(*arrays)
    assert set(table.error) == {""}
    found = rows(table, defence="noise", attack="benign")
    assert {"psnr", "tknc"} <= set(found.metric)


def test_labels_may_be_one_hot_and_images_double(classifier, arrays, tmp_path):
    x, y, (others, labels) = arrays
    benchmark = make(classifier, ["fgsm"], ["nip"], store=tmp_path)
    table = benchmark.run(x, y, (others, labels))
    before = files(tmp_path)
    again = benchmark.run(
        x.astype(np.float64), np.eye(10)[y], (others.astype(np.float64), np.eye(10)[labels])
    )
    assert again.equals(table)
    assert files(tmp_path) == before


def test_a_keras_classifier(lenet, digits, tmp_path):
    import keras
    from art.estimators.classification import KerasClassifier

    model = keras.models.clone_model(lenet["tensorflow"])
    model.set_weights(lenet["tensorflow"].get_weights())
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss, optimizer="sgd")
    classifier = KerasClassifier(model, use_logits=True, clip_values=(0, 1))
    arrays = data(digits, "tensorflow")
    chosen = [Attack("pgd", parameters=PGD)]
    table = make(classifier, chosen, ["nip", "jpeg"], store=tmp_path / "keras").run(*arrays)
    other = make_classifier("tensorflow", lenet["tensorflow"])
    expected = make(other, chosen, ["nip", "jpeg"], store=tmp_path / "tf").run(*arrays)
    found, wanted = (
        each[each.metric.isin(["accuracy", "asr", "dsr", "forward_passes"])]
        .drop(columns="seconds")
        .reset_index(drop=True)
        for each in (table, expected)
    )
    pd.testing.assert_frame_equal(found, wanted)


def test_a_black_box(digits, lenet, tmp_path):
    """Nothing of it is seen but what it predicts."""
    from art.estimators.classification import BlackBoxClassifier

    white = make_classifier("pytorch", lenet["pytorch"])
    black = BlackBoxClassifier(
        lambda x: white.predict(x.astype(np.float32)), (1, 28, 28), 10, clip_values=(0, 1)
    )
    x, y, _ = data(digits, "pytorch")
    table = make(black, ["auna"], ["jpeg", "tvm"], store=tmp_path).run(x, y)
    assert set(table.error) == {""}
    assert not set(table.metric) & {"tknc", "forward_passes"}
    assert {"psnr", "dsr", "asr", "l2"} <= set(table.metric)


# Going on where it was


RESUMED = ("fgsm", "pwa", "auna", "pixel", "boundary", "pgd", "bim", "jsma", "deepfool", "uap")

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.benchmark.test_benchmark import resumed
resumed(Path(sys.argv[2]), Path(sys.argv[3]))
"""


def resumed(weights, folder):
    """Run a benchmark that takes long enough to be killed."""
    from safetensors.numpy import load_file

    images = load_file(weights.with_name("images.safetensors"))
    chosen = [Attack(name, parameters=SMALL.get(name, {}), limit=8) for name in RESUMED]
    benchmark = make(load(weights, "pytorch"), chosen, ["jpeg", "tvm", "nip"], store=folder)
    return benchmark.run(images["x"], images["y"], (images["bank"], images["labels"]))


@pytest.fixture(scope="module")
def killed(lenet, digits, tmp_path_factory):
    """A run that was killed, the files it had, and the same run afterwards, elsewhere."""
    from safetensors.numpy import save_file

    folder = tmp_path_factory.mktemp("killed")
    weights = folder / "lenet.safetensors"
    save(weights, lenet["pytorch"], TrainedModel("lenet5", (1, 28, 28), 10, 0.0, 1.0))
    x, y, (bank, labels) = data(digits, "pytorch")
    images = {"x": x, "y": y, "bank": np.ascontiguousarray(bank), "labels": labels}
    save_file(images, folder / "images.safetensors")
    store = folder / "store"
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", SCRIPT, root, str(weights), str(store)]
    first = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    give_up = time.monotonic() + 300
    while len(files(store)) < 3 and first.poll() is None and time.monotonic() < give_up:
        time.sleep(0.002)
    first.send_signal(signal.SIGKILL)
    first.wait()
    there = files(store)
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return SimpleNamespace(folder=folder, weights=weights, store=store, there=there)


def test_a_killed_run_goes_on_where_it_was(killed):
    after = files(killed.store)
    assert 3 <= len(killed.there) < len(after) == 10 + 4 * 11
    assert {name: after[name] for name in killed.there} == killed.there


def test_its_table_is_that_of_a_run_that_was_not_killed(killed):
    whole = resumed(killed.weights, killed.folder / "whole")
    assert set(whole.error) == {""}
    pd.testing.assert_frame_equal(untimed(written(killed.store)), untimed(whole), rtol=1e-4)


def test_another_process_finds_all_of_it(killed):
    before = files(killed.store)
    written = (killed.store / "table.csv").read_text()
    resumed(killed.weights, killed.store)
    assert files(killed.store) == before
    assert (killed.store / "table.csv").read_text() == written


def test_a_second_run_computes_nothing(grid):
    before = files(grid.folder)
    again = grid.benchmark.run(*grid.arrays)
    assert files(grid.folder) == before
    assert again.equals(grid.table)


def cached(benchmark, *arrays):
    plan = benchmark.plan(*arrays)
    return plan.set_index(["attack", "defence"]).cached


@pytest.fixture(scope="module")
def kept(lenet, digits, tmp_path_factory):
    """A small run, and how to make its benchmark anew with changes."""
    folder = tmp_path_factory.mktemp("kept")
    classifier = make_classifier("pytorch", lenet["pytorch"])
    arrays = data(digits, "pytorch")

    def again(eps=0.2, quality=80, classifier=classifier, **keywords):
        chosen = [Attack("pgd", parameters={**PGD, "eps": eps}), "fgsm"]
        defences = [Defence("jpeg", parameters={"quality": quality}), "nip"]
        return make(classifier, chosen, defences, **{"store": folder, **keywords})

    table = again().run(*arrays)
    return SimpleNamespace(again=again, arrays=arrays, folder=folder, table=table)


def test_all_is_found_by_a_new_benchmark(kept):
    assert cached(kept.again(), *kept.arrays).all()
    assert kept.again().run(*kept.arrays).equals(kept.table)


def test_another_parameter_of_one_attack_changes_that_attack_only(kept):
    before = files(kept.folder)
    benchmark = kept.again(eps=0.1)
    found = cached(benchmark, *kept.arrays)
    assert not found["pgd"].any()
    assert found["fgsm"].all()
    assert found["benign"].all()
    table = benchmark.run(*kept.arrays)
    assert len(files(kept.folder)) == len(before) + 1 + 3
    assert before.items() <= files(kept.folder).items()
    changed = table[table.attack == "pgd"].value.to_list()
    assert changed != kept.table[kept.table.attack == "pgd"].value.to_list()
    same = table[table.attack != "pgd"].reset_index(drop=True)
    assert same.equals(kept.table[kept.table.attack != "pgd"].reset_index(drop=True))


def test_another_parameter_of_one_defence_changes_that_defence_only(kept):
    found = cached(kept.again(quality=10), *kept.arrays)
    for attack in ("benign", "pgd", "fgsm"):
        assert found[attack].to_dict() == {"none": True, "jpeg": False, "nip": True}


def test_another_bank_changes_what_learns_only(kept):
    x, y, (bank, labels) = kept.arrays
    found = cached(kept.again(), x, y, (bank[1:], labels[1:]))
    for attack in ("benign", "pgd", "fgsm"):
        assert found[attack].to_dict() == {"none": True, "jpeg": True, "nip": False}


@pytest.mark.parametrize(
    "change",
    [
        lambda x, y: (x[:-1], y[:-1]),
        lambda x, y: (x[::-1], y[::-1]),
        lambda x, y: (np.where(np.arange(28) == 3, 0.5, x), y),
        lambda x, y: (x, (y + 1) % 10),
    ],
)
def test_other_images_change_everything(kept, change):
    x, y, bank = kept.arrays
    changed = (*change(x, y), bank)
    assert not cached(kept.again(), *changed).any()
    assert not keys(kept.again(), changed) & keys(kept.again(), kept.arrays)


def test_another_seed_changes_everything(kept):
    assert not cached(kept.again(seed=1), *kept.arrays).any()
    assert not keys(kept.again(seed=1), kept.arrays) & keys(kept.again(), kept.arrays)


def test_other_weights_change_everything(kept, lenet, retrained):
    nearly = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    weights = zoo.get_weights(lenet["pytorch"])
    name = list(weights)[-1]
    zoo.set_weights(nearly, {**weights, name: weights[name] * np.float32(1.0001)})
    for model in (nearly.eval(), retrained["pytorch"]):
        other = kept.again(classifier=make_classifier("pytorch", model))
        assert not cached(other, *kept.arrays).any()
        assert not keys(other, kept.arrays) & keys(kept.again(), kept.arrays)


def test_what_was_deleted_is_missed(kept, tmp_path):
    benchmark = kept.again(store=tmp_path)
    benchmark.run(*kept.arrays)
    cell = cell_of(benchmark, kept.arrays, attack="pgd", defence="none")
    (tmp_path / "adversarial" / f"{cell.adversarial}.safetensors").unlink()
    found = cached(benchmark, *kept.arrays)
    assert not found["pgd"].any()
    assert found["fgsm"].all()
    benchmark.run(*kept.arrays)
    assert cached(benchmark, *kept.arrays).all()


def test_a_plan_computes_nothing_and_writes_nothing(classifier, arrays, tmp_path):
    folder = tmp_path / "store"
    chosen = [Attack("pwa", limit=3), Shift(classifier)]
    benchmark = make(classifier, chosen, ["nip"], store=folder, protocols=PROTOCOLS)
    plan = benchmark.plan(*arrays)
    assert not folder.exists()
    assert list(plan.columns) == [*CELL, "n", "cached"]
    assert len(plan) == 3 * 2 * 2
    assert plan.groupby("attack").n.unique().map(list).to_dict() == {
        "benign": [FEW], "pwa": [3], "Shift": [FEW],
    }  # fmt: skip
    assert not plan.cached.any()


@pytest.mark.parametrize("name", ["pgd", "hopskipjump"])
def test_showing_progress_changes_no_result(classifier, arrays, tmp_path, name, capsys):
    small = {"pgd": {"max_iter": 2, "num_random_init": 1}, "hopskipjump": {"max_iter": 1}}
    small["hopskipjump"] |= {"max_eval": 20, "init_eval": 5}
    chosen = [Attack(name, parameters=small[name], limit=4)]
    tables = []
    for verbose in (True, False):
        folder = tmp_path / str(verbose)
        benchmark = Benchmark(classifier, chosen, ["tvm"], store=folder, verbose=verbose)
        tables.append(untimed(benchmark.run(*arrays)))
        assert ("crafting" in capsys.readouterr().err) == verbose
    assert tables[0].equals(tables[1])


def test_random_draws_are_the_tasks_own(classifier, arrays, tmp_path):
    """Whatever was drawn before, and whatever other cells there are."""
    chosen = [Attack("pgd", parameters={"num_random_init": 1, "max_iter": 2})]
    np.random.seed(1)  # noqa: NPY002 - as whoever calls may
    alone = make(classifier, chosen, ["tvm"], store=tmp_path / "a").run(*arrays)
    np.random.seed(2)  # noqa: NPY002
    more = make(classifier, ["auna", *chosen], ["jpeg", "tvm"], store=tmp_path / "b").run(*arrays)
    where = {"attack": "pgd", "defence": "tvm"}
    assert untimed(rows(alone, **where)).equals(untimed(rows(more, **where)))


class Noisy(Preprocessor):
    """Draws from a generator of its own, which remembers."""

    params = ("scale",)

    def __init__(self, scale=0.2):
        super().__init__(is_fitted=True)
        self.scale, self.generator = scale, np.random.default_rng(0)

    def __call__(self, x, y=None):
        return np.clip(x + self.scale * self.generator.normal(size=x.shape), 0, 1), y


def test_no_task_knows_of_the_defences_of_others(classifier, arrays, tmp_path):
    """Or a run that goes on where it was would go on otherwise."""
    alone = make(classifier, ["fgsm"], [Noisy()], store=tmp_path / "a").run(*arrays)
    more = make(classifier, ["auna", "fgsm"], [Noisy()], store=tmp_path / "b").run(*arrays)
    assert set(more.error) == {""}
    where = {"attack": "fgsm", "defence": "Noisy"}
    assert untimed(rows(alone, **where)).equals(untimed(rows(more, **where)))


def test_whoever_calls_keeps_their_random_state(classifier, arrays, tmp_path):
    np.random.seed(1)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    make(classifier, ["auna"], ["tvm"], store=tmp_path).run(*arrays)
    assert np.random.rand() == expected  # noqa: NPY002


# Errors in a cell


def test_an_attack_that_raises_is_a_row_and_is_tried_again(
    classifier, arrays, tmp_path, monkeypatch
):
    benchmark = make(classifier, [Shift(classifier), "fgsm"], ["ss"], store=tmp_path)
    monkeypatch.setattr(Shift, "broken", True)
    table = benchmark.run(*arrays)
    failed = rows(table, metric="error")
    assert failed[["attack", "defence"]].to_numpy().tolist() == [["Shift", "none"], ["Shift", "ss"]]
    assert set(failed.error) == {"RuntimeError: out of order"}
    assert (failed.n == 0).all()
    assert not rows(table, attack="Shift").metric.isin(["accuracy"]).any()
    others = table[table.attack != "Shift"]
    assert set(others.error) == {""}
    assert len(rows(others, metric="accuracy")) == 4
    assert not cached(benchmark, *arrays)["Shift"].any()
    traces = [json.loads(path.read_text()) for path in (tmp_path / "errors").iterdir()]
    assert "in generate" in traces[0]["traceback"]
    # Later it works:
    monkeypatch.setattr(Shift, "broken", False)
    before = files(tmp_path)
    table = benchmark.run(*arrays)
    assert set(table.error) == {""}
    assert len(rows(table, attack="Shift", metric="accuracy")) == 2
    assert before.items() <= files(tmp_path).items()
    assert not list((tmp_path / "errors").iterdir())


@pytest.mark.parametrize("where", ["broken_call", "broken_fit"])
def test_a_defence_that_raises_is_a_row_and_is_tried_again(
    classifier, arrays, tmp_path, monkeypatch, where
):
    benchmark = make(
        classifier, ["fgsm"], ["ss", Darken()], store=tmp_path, threats=["oblivious", "adaptive"]
    )
    monkeypatch.setattr(Darken, where, True)
    table = benchmark.run(*arrays)
    failed = rows(table, metric="error")
    assert set(failed.defence) == {"Darken"}
    assert len(failed) == 2 * 2
    text = {"broken_call": "too dark", "broken_fit": "nothing to learn"}[where]
    assert set(failed.error) == {f"RuntimeError: {text}"}
    assert len(rows(table, metric="accuracy")) == 2 * 2 * 2
    monkeypatch.setattr(Darken, where, False)
    assert set(benchmark.run(*arrays).error) == {""}


def test_a_cell_whose_reference_raised_says_so(classifier, arrays, tmp_path, monkeypatch):
    """A success is counted against what the defended classifier says of benign images."""

    def benign_only(self, x, y=None):
        if np.array_equal(x[:1], arrays[0][:1]):
            raise RuntimeError("benign")
        return x, y

    monkeypatch.setattr(Darken, "__call__", benign_only)
    table = make(classifier, ["fgsm"], [Darken()], store=tmp_path).run(*arrays)
    failed = rows(table, defence="Darken")
    assert set(failed.attack) == {"benign", "fgsm"}
    assert set(failed.error) == {"RuntimeError: benign"}


def test_a_classifier_with_another_number_of_classes_is_an_error_in_its_cells(
    framework, classifier, arrays, tmp_path
):
    x, y, _ = arrays
    shape = (*x.shape[1:-1], 3) if framework == "tensorflow" else (3, *x.shape[2:])
    model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=10)
    colour = make_classifier(framework, model, shape)
    table = make(classifier, ["fgsm"], {"colour": colour}, store=tmp_path).run(x, y)
    assert set(rows(table, metric="error").defence) == {"colour"}
    assert set(rows(table, defence="none").error) == {""}


# What is refused


def black_box(**keywords):
    from art.estimators.classification import BlackBoxClassifier

    return BlackBoxClassifier(
        lambda x: np.zeros((len(x), 10)), (1, 28, 28), 10, **{"clip_values": (0, 1), **keywords}
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"attacks": ["pdg"]}, ValueError, "no attack 'pdg'. The nearest is 'pgd'"),
        ({"attacks": [Attack("pgd", parameters={"epss": 1})]}, ValueError,
         "no parameter 'epss'. The nearest is 'eps'"),
        ({"attacks": ["fgsm", "fgsm"]}, ValueError, "Two attacks are called 'fgsm'"),
        ({"attacks": ["fgsm", Attack("bim", "fgsm")]}, ValueError, "Two attacks are called"),
        ({"attacks": [Attack("fgsm", "benign")]}, ValueError, "No attack can be called 'benign'"),
        ({"attacks": [Attack("fgsm", limit=0)]}, ValueError, "limit=0; give a whole number"),
        ({"attacks": [3]}, TypeError, "3 is no attack: give a name"),
        ({"attacks": [JpegCompression((0, 1))]}, TypeError, "is no attack"),
        ({"defences": ["jpg"]}, ValueError, "Unknown defence 'jpg'. Did you mean 'jpeg'"),
        ({"defences": [Defence("jpeg", parameters={"qualty": 1})]}, ValueError,
         "'qualty'. Did you mean 'quality'"),
        ({"defences": ["ss", "ss"]}, ValueError, "Two defences are called 'ss'"),
        ({"defences": {"none": "ss"}}, ValueError, "No defence can be called 'none'"),
        ({"defences": [Defence("ss", "none")]}, ValueError, "No defence can be called 'none'"),
        ({"defences": [3]}, TypeError, "3 is no defence: give a name"),
        ({"defences": [Defence(JpegCompression((0, 1)), parameters={"quality": 3})]}, ValueError,
         "has its parameters already"),
        ({"defences": {"g": GaussianAugmentation()}}, ValueError,
         "'g' is one of training.*apply_predict=True"),
        ({"protocols": ["heldout"]}, ValueError, "Unknown protocol 'heldout'. Did you mean"),
        ({"threats": ["adaptve"]}, ValueError, "'adaptve'. Did you mean 'adaptive'"),
        ({"engine": "rey"}, ValueError, "Unknown engine 'rey'. Did you mean 'ray'"),
        ({"address": "here:1"}, ValueError, "of no use to the engine \"local\""),
        ({"jobs": 0}, ValueError, "jobs=0; give a whole number"),
        ({"seed": -1}, ValueError, "seed=-1; give a whole number"),
        ({"seed": 0.5}, ValueError, "seed=0.5; give a whole number"),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_at_once(arguments, error, message, tmp_path):
    folder = tmp_path / "store"
    defaults = {"classifier": black_box(), "attacks": ["auna"], "store": folder}
    with pytest.raises(error, match=message):
        Benchmark(**{**defaults, **arguments})
    assert not folder.exists()


def test_parameters_of_an_attack_of_art_are_its_own(classifier):
    with pytest.raises(ValueError, match="has its parameters already"):
        make(classifier, [Attack(pgd(classifier), parameters={"eps": 1})], store="nowhere")


def test_the_classifier_must_have_clip_values():
    with pytest.raises(ValueError, match="has no clip_values"):
        make(black_box(clip_values=None), ["auna"], store="nowhere")


def test_an_attack_on_another_classifier_is_refused(framework, classifier, lenet, retrained, nip):
    """It would attack that one whatever defence it is to go through."""
    others = [
        make_classifier(framework, retrained[framework]),
        make_classifier(framework, lenet[framework], preprocessing_defences=SpatialSmoothing(2)),
        nip.attach(classifier),
    ]
    for other in others:
        with pytest.raises(ValueError, match=r"made for another classifier.*adaptive"):
            make(classifier, [pgd(other)], store="nowhere")


@pytest.mark.parametrize("shared", [0, 59])
def test_evaluated_images_must_not_be_in_the_bank(classifier, arrays, tmp_path, shared):
    x, y, (bank, labels) = arrays
    bank = bank.copy()
    bank[shared] = x[3]
    benchmark = make(classifier, ["fgsm"], ["nip"], store=tmp_path / "a")
    for call in (benchmark.run, benchmark.plan):
        with pytest.raises(ValueError, match="1 of the 10 evaluated images are in the bank too"):
            call(x, y, (bank, labels))
    # Where nothing is learnt from it, this does no harm.
    make(classifier, ["fgsm"], ["ss"], store=tmp_path / "b").plan(x, y, (bank, labels))
    leaked = make(classifier, ["fgsm"], ["nip"], store=tmp_path / "c", protocols=["leaked"])
    leaked.plan(x, y, (bank, labels))


def test_what_learns_needs_a_bank(classifier, arrays, tmp_path):
    x, y, _ = arrays
    benchmark = make(classifier, ["fgsm"], ["ss", "nip", Darken()], store=tmp_path / "a")
    with pytest.raises(ValueError, match="nip, Darken learns from benign images: give bank"):
        benchmark.run(x, y)
    assert not (tmp_path / "a").exists()
    make(classifier, ["fgsm"], ["ss"], store=tmp_path / "b").plan(x, y)
    make(classifier, ["fgsm"], ["nip"], store=tmp_path, protocols=["leaked"]).plan(x, y)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda x, y: (x, y[:-1]), ValueError, r"Labels have shape \(9,\); for 10 images"),
        (lambda x, y: (x, y + 10), ValueError, "whole numbers from 0 to 9"),
        (lambda x, y: (x * 255, y), ValueError, "outside the clip_values"),
        (lambda x, y: (x[:, :, :-1], y), ValueError, "Images have shape"),
        (lambda x, y: (x * np.nan, y), ValueError, "NaN"),
        (lambda x, y: (x.astype(str), y), TypeError, "array of numbers"),
        (lambda x, y: (x[:0], y[:0]), ValueError, "no image"),
    ],
)
def test_wrong_images_and_labels_are_refused(classifier, arrays, tmp_path, change, error, message):
    x, y, _ = arrays
    folder = tmp_path / "store"
    benchmark = make(classifier, ["fgsm"], ["nip"], store=folder)
    with pytest.raises(error, match=message):
        benchmark.run(*change(x, y), arrays[2])
    with pytest.raises(error, match=message):
        benchmark.run(*arrays[2], change(x, y))
    assert not folder.exists()


@pytest.mark.parametrize("kind", ["adversarial", "predictions"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_damaged_file_is_named(kept, tmp_path, kind, jobs):
    benchmark = kept.again(store=tmp_path, jobs=jobs)
    kept.again(store=tmp_path).run(*kept.arrays)
    cell = cell_of(benchmark, kept.arrays, attack="fgsm", defence="nip")
    path = tmp_path / kind / f"{getattr(cell, kind)}.safetensors"
    path.write_bytes(path.read_bytes()[:60])
    if kind == "adversarial":
        for predictions in (tmp_path / "predictions").iterdir():
            predictions.unlink()
    with pytest.raises(ValueError, match=f"{path.name} is truncated.*Delete it, and run"):
        benchmark.run(*kept.arrays)
    path.unlink()
    assert untimed(benchmark.run(*kept.arrays)).equals(untimed(kept.table))


def test_the_classifier_is_left_as_it_was(classifier, arrays, tmp_path, framework):
    x = arrays[0]
    scores = classifier.predict(x)
    operations = list(classifier.preprocessing_operations)
    attributes = set(vars(classifier.model))
    make(classifier, ["fgsm", Attack("pgd", parameters=PGD)], ["nip", "cbdr"], store=tmp_path,
         threats=["oblivious", "adaptive"]).run(*arrays)  # fmt: skip
    assert np.array_equal(classifier.predict(x), scores)
    assert classifier.preprocessing_operations == operations
    assert classifier.preprocessing_defences is None
    assert set(vars(classifier.model)) == attributes
    if framework == "pytorch":
        assert all(each.requires_grad for each in classifier.model.parameters())
        assert not any(module._forward_hooks for module in classifier.model.modules())


def test_numbers_of_numpy_are_numbers(classifier, arrays, tmp_path):
    chosen = [Attack("fgsm", parameters={"eps": np.float32(0.1)}, limit=np.int64(3))]
    benchmark = make(classifier, chosen, store=tmp_path, seed=np.uint32(3))
    table = benchmark.run(*arrays)
    assert rows(table, attack="fgsm").eps.to_numpy() == pytest.approx(0.1)
    assert json.loads((tmp_path / "benchmark.json").read_text())["seed"] == 3


def test_what_is_said_twice_is_done_once(classifier, arrays, tmp_path):
    twice = {"protocols": ["held-out"] * 2, "threats": ["oblivious"] * 2}
    plan = make(classifier, ["fgsm"], ["ss"], store=tmp_path, **twice).plan(*arrays)
    assert len(plan) == 4


def test_a_defence_under_two_labels_shares_its_results(classifier, arrays, tmp_path):
    defences = {"a": FeatureSqueezing((0, 1), bit_depth=3), "b": FeatureSqueezing((0, 1), 3)}
    table = make(classifier, ["fgsm"], defences, store=tmp_path).run(*arrays)
    assert len(list((tmp_path / "predictions").iterdir())) == 2 * 2
    a, b = (rows(table, defence=label).drop(columns="defence") for label in "ab")
    assert a.reset_index(drop=True).equals(b.reset_index(drop=True))


def test_names_of_classes_stand_for_what_has_no_label(classifier, arrays, tmp_path):
    defences = [JpegCompression((0, 1), channels_first=True), "none", Defence("ss", "median")]
    table = make(classifier, [pgd(classifier)], defences, store=tmp_path).plan(*arrays)
    assert list(table.defence.unique()) == ["none", "JpegCompression", "median"]
    assert list(table.attack.unique()) == ["benign", "ProjectedGradientDescent"]
    assert os.listdir(tmp_path) == []
