"""The ladder on a small model in both frameworks: what rungs count, and that runs are resumed."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from art_nip.paper import ladder
from art_nip.paper.setting import Setting


@pytest.fixture(scope="module")
def run(framework, tmp_path_factory):
    setting = Setting(
        tmp_path_factory.mktemp(framework), limit=20, tiny=True, framework=framework, verbose=False
    )
    return setting, ladder.measure(setting)


def test_the_number_falls_from_rung_to_rung(run):
    _, outcomes = run
    rate = {outcome.rung: outcome.rate for outcome in outcomes}
    assert list(rate) == list(ladder.RUNGS)
    assert rate["released"].value >= 0.9
    assert rate["released"].value >= rate["unlabelled"].value
    assert rate["noise-labelled"].value >= rate["noise"].value
    assert rate["released"].value > rate["noise"].value
    assert rate["equation-minimal"].value > rate["equation"].value
    assert rate["held-out"].value < 0.5
    assert rate["adaptive"].value <= rate["held-out"].value
    assert {rate.n for name, rate in rate.items() if ladder.RUNGS[name].minimal} == {20}
    assert 10 <= rate["equation"].n <= 20


def test_what_is_there_is_not_computed_again(run, monkeypatch):
    setting, outcomes = run

    def never(*_):
        raise AssertionError("computed again")

    for name in ("_crafted", "_nip", "_by_equation", "_adaptive"):
        monkeypatch.setattr(ladder.Climb, name, never)
    assert ladder.measure(setting) == outcomes


def test_a_rung_that_is_missing_is_computed_from_the_examples_that_are_there(run, monkeypatch):
    setting, outcomes = run
    (path,) = (setting.out / "results").glob("ladder-mnist-lenet5-noise-labelled-*.json")
    path.unlink()
    monkeypatch.setattr("art_nip.attacks.get", lambda name: None)
    assert ladder.measure(setting) == outcomes
    assert path.is_file()


def test_the_table(run):
    _, outcomes = run
    lines = ladder.markdown(outcomes).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 2 + len(ladder.RUNGS)
    assert table[0] == "| | examples | LeNet-5, MNIST |"
    assert str(outcomes[0].rate) in table[2]


def test_the_figure(run, tmp_path):
    _, outcomes = run
    figure = ladder.figure(outcomes)
    (axis,) = figure.axes
    assert len(axis.get_yticklabels()) == len(ladder.RUNGS)
    figure.savefig(tmp_path / "ladder.png")
    assert (tmp_path / "ladder.png").stat().st_size > 10_000
    # No label reaches into the next.
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    boxes = [label.get_window_extent(renderer) for label in axis.get_yticklabels()]
    assert all(lower.y1 <= upper.y0 + 1 for upper, lower in pairwise(boxes))


def test_weights_that_are_missing_are_told_before_anything_runs(tmp_path):
    setting = Setting(tmp_path, weights=tmp_path / "none", models=("gtsrb-resnet20",))
    with pytest.raises(FileNotFoundError, match="art-nip train gtsrb resnet20"):
        ladder.measure(setting)


def test_models_that_there_are_not(tmp_path):
    with pytest.raises(ValueError, match="gtsrb-lenet5"):
        ladder.measure(Setting(tmp_path, models=("gtsrb-lenet",)))


def test_an_attack_that_never_succeeds_leaves_no_rate():
    outcome = ladder.Outcome("model", "released", (), float("nan"))
    assert np.isnan(outcome.rate.value)
    assert str(outcome.rate) == "n/a (n = 0)"
