"""Errors in a cell are rows of the table, and tried again."""

import json
import warnings

import numpy as np
import pytest

from art_nip import zoo
from art_nip.benchmark import Benchmark, FailedCellsWarning
from tests.benchmark.helpers import Darken, Shift, cached, files, make, rows
from tests.helpers import make_classifier


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


def test_a_classifier_whose_model_takes_other_images_is_an_error_in_its_cells(
    framework, classifier, arrays, tmp_path
):
    x, y, _ = arrays
    shape = (*x.shape[1:-1], 3) if framework == "tensorflow" else (3, *x.shape[2:])
    model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=10)
    colour = make_classifier(framework, model, x.shape[1:])
    # In few words: Keras puts the images into its error, and so has another for each cell.
    with pytest.warns(FailedCellsWarning, match=r"^2 cells .*:\n[^\n]{,500}$"):
        table = make(classifier, ["fgsm"], {"colour": colour}, store=tmp_path).run(x, y)
    assert set(rows(table, metric="error").defence) == {"colour"}
    assert set(rows(table, defence="none").error) == {""}


def test_a_run_ends_with_what_failed_one_cause_once(classifier, arrays, tmp_path, capsys):
    x, y, _ = arrays
    shift = Shift(classifier)
    shift.broken = True
    benchmark = Benchmark(classifier, ["fgsm", shift], ["ss"], store=tmp_path)
    with pytest.warns(FailedCellsWarning, match="2 cells raised an error") as warned:
        benchmark.run(x, y)
    (told,) = [str(each.message) for each in warned if each.category is FailedCellsWarning]
    assert told.count("RuntimeError: out of order") == 1
    assert told.endswith("(2 cells: Shift on none, ss (oblivious, held-out))")
    assert capsys.readouterr().err.rstrip().endswith(told)
    shift.broken = False
    with warnings.catch_warnings():
        warnings.simplefilter("error", FailedCellsWarning)
        Benchmark(classifier, ["fgsm"], ["ss"], store=tmp_path, verbose=False).run(x, y)
