"""The paper's grid, made small: which cells there are, and what each has."""

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from art_nip import attacks
from art_nip.benchmark import Attack
from art_nip.benchmark.schema.rows import COLUMNS
from art_nip.metrics import wilson_interval
from tests.benchmark.helpers import (
    BANK,
    CELL,
    COSTS,
    DEFENCES,
    FEW,
    LIMITS,
    PROTOCOLS,
    SMALL,
    data,
    figure,
    files,
    make,
    rows,
    written,
)
from tests.helpers import make_classifier


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
        if defence == "tvm":  # random
            expected |= {"accuracy_majority", "accuracy_worst_draw"}
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


def test_a_second_run_computes_nothing(grid):
    before = files(grid.folder)
    again = grid.benchmark.run(*grid.arrays)
    assert files(grid.folder) == before
    assert again.equals(grid.table)
