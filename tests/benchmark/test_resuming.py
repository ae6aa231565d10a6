"""What is kept: a run goes on where it was, and what changed is computed anew."""

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from art_nip import zoo
from art_nip.benchmark import Attack, Benchmark, Defence
from art_nip.zoo.classifiers import TrainedModel, load, save
from tests.benchmark.helpers import (
    CELL,
    FEW,
    PGD,
    PROTOCOLS,
    SMALL,
    Noisy,
    Shift,
    cached,
    cell_of,
    data,
    files,
    keys,
    make,
    rows,
    untimed,
    written,
)
from tests.helpers import make_classifier

RESUMED = ("fgsm", "pwa", "auna", "pixel", "boundary", "pgd", "bim", "jsma", "deepfool", "uap")


SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.benchmark.test_resuming import resumed
resumed(Path(sys.argv[2]), Path(sys.argv[3]))
"""


def resumed(weights, folder):
    """Run a benchmark that takes long enough to be killed."""
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


def test_other_code_computes_anew_and_draws_the_same(classifier, arrays, tmp_path, monkeypatch):
    chosen = [Attack("pgd", parameters={"num_random_init": 1, "max_iter": 2})]
    benchmark = make(classifier, chosen, ["tvm"], store=tmp_path)
    before = benchmark.run(*arrays)
    assert benchmark.plan(*arrays).cached.all()
    monkeypatch.setattr("art_nip.benchmark.benchmark.own_code", lambda: "edited" + 26 * "0")
    assert not benchmark.plan(*arrays).cached.any()
    assert untimed(benchmark.run(*arrays)).equals(untimed(before))


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
