"""What is logged with MLflow and for TensorBoard are the numbers of the table, each by a name."""

import math
import sys

import pytest

from art_nip import cli
from art_nip.benchmark import Benchmark, report
from art_nip.benchmark.export import tracking
from art_nip.benchmark.report.results import Results
from art_nip.cli import parser
from tests.benchmark.helpers import data
from tests.benchmark.report_builder import NASTY, Builder
from tests.helpers import make_classifier


@pytest.fixture
def folder(tmp_path):
    """Labels that no tracker takes as they are, two of which become alike."""
    builder = Builder(tmp_path / "store", {"fgsm ε=0.1": 0.1, "a/b": None, "a:b": None, "..": None})
    builder.defences = ["none", NASTY, "nip"]
    builder.changes = {"data": "mnist"}
    builder.fill(("held-out", "leaked"), ("oblivious", "adaptive"))
    builder.fail("a/b", "nip", "OOM")
    where = ("held-out", "adaptive", "accuracy_at", 0.5, 0.4, 0.6, 40, math.nan)
    builder.rows += [("nearest", "nip", *where, eps, "", "l2") for eps in (0.25, 1.0)]
    folder = builder.write()
    report.write(folder)
    return folder


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """MLflow with a store of files, which it opens on request only."""
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow, to log with it")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "runs").as_uri())
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return mlflow


def scalars(folder):
    """Numbers and texts of the events, as TensorFlow reads them."""
    from tensorflow import make_ndarray
    from tensorflow.compat.v1.train import summary_iterator

    (path,) = (folder / "tensorboard").glob("events*")
    numbers, texts = {}, {}
    for event in summary_iterator(str(path)):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                assert value.tag not in numbers
                numbers[value.tag] = value.simple_value
            else:
                texts[value.tag] = make_ndarray(value.tensor)[0].decode()
    return numbers, texts


def test_every_number_of_the_table_has_a_name_of_its_own(folder):
    found = list(tracking.figures(Results(folder)))
    numbers = dict(found)
    assert len(numbers) == len(found)
    points = Results(folder).curves("adaptive", "held-out")["l2"]
    rows = [*(row for row in Results(folder).rows if row.metric != "error"), *points]
    expected = [value for row in rows for value in (row.value, row.low, row.high, float(row.n))]
    assert [value for _, value in found] == [value for value in expected if not math.isnan(value)]
    row = next(row for row in rows if (row.attack, row.defence) == ("fgsm ε=0.1", "nip"))
    where = f"oblivious/held-out/fgsm_ε_0.1/nip/{row.metric}"
    assert (numbers[where], numbers[f"{where}_low"]) == (row.value, row.low)
    attacks = {name.split("/")[2] for name in numbers}
    assert attacks == {"benign", "fgsm_ε_0.1", "a_b", "a_b_2", "_", "nearest"}
    assert numbers["adaptive/held-out/nearest/nip/accuracy_at_l2_0.25_high"] == 0.6
    assert {name.count("/") for name in numbers} == {4}


def test_mlflow_has_the_numbers_the_parameters_and_the_report(folder, mlflow):
    where = tracking.track(folder, "mlflow")
    client = mlflow.MlflowClient()
    run = client.get_run(where.rpartition(" ")[2])
    assert run.data.metrics == pytest.approx(dict(tracking.figures(Results(folder))))
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "gtsrb-lenet5"
    assert run.data.params["data"] == "mnist"
    assert run.data.params["attacks/a_b_2/max_iter"] == "10"
    assert run.data.params["versions/torch"] == "2.13.0"
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        *("report.html", "report.md", "table.csv")
    }
    assert tracking.track(folder, "mlflow") != where


def test_mlflow_takes_many_numbers_and_its_own_experiment(tmp_path, mlflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    attacks = {f"attack {place}": 0.1 for place in range(120)}
    builder = Builder(tmp_path / "store", attacks, ("none", "nip"))
    tracking.track(builder.fill().write(), "mlflow")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name("mine")
    (run,) = client.search_runs([experiment.experiment_id])
    assert len(run.data.metrics) > 2000
    assert len(run.data.params) > 240


def test_a_store_that_mlflow_cannot_open_is_told_before_the_work(mlflow, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://at-all")
    with pytest.raises(OSError, match=r"MLflow cannot log to nowhere://at-all \(.*MLFLOW_TRACKING"):
        tracking.check("mlflow")


def test_tensorboard_has_the_numbers_the_parameters_and_the_report(folder):
    pytest.importorskip("tensorboardX")
    for _ in range(2):  # a second run takes the place of the first
        assert tracking.track(folder, "tensorboard") == str(folder / "tensorboard")
    numbers, texts = scalars(folder)
    assert numbers == pytest.approx(dict(tracking.figures(Results(folder))), rel=1e-6)
    assert "**data**: mnist" in texts["parameters/text_summary"]
    assert texts["report/text_summary"] == (folder / "report.md").read_text(encoding="utf-8")


def test_a_benchmark_tracks_each_run(lenet, digits, tmp_path, capsys):
    pytest.importorskip("tensorboardX")
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y, _ = data(digits, "pytorch", n=4)
    benchmark = Benchmark(classifier, ["fgsm"], store=tmp_path / "store", track="tensorboard")
    table = benchmark.run(x, y)
    assert "Logged: " in capsys.readouterr().err
    numbers, _ = scalars(tmp_path / "store")
    (row,) = table[table.metric == "asr"].itertuples()
    assert numbers["oblivious/held-out/fgsm/none/asr"] == pytest.approx(row.value)
    assert (tmp_path / "store" / "report.html").is_file()


@pytest.mark.parametrize(
    ("tracker", "package"), [("mlflow", "mlflow"), ("tensorboard", "tensorboardX")]
)
def test_without_the_package_it_says_what_to_install(
    lenet, tmp_path, monkeypatch, tracker, package
):
    monkeypatch.setitem(sys.modules, package, None)
    classifier = make_classifier("pytorch", lenet["pytorch"])
    with pytest.raises(
        ImportError, match=rf"needs {package} to .*: pip install 'art-nip\[track\]'"
    ):
        Benchmark(classifier, ["fgsm"], store=tmp_path, track=tracker)


def test_an_unknown_tracker_is_refused(lenet, tmp_path):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    with pytest.raises(ValueError, match="wandb"):
        Benchmark(classifier, ["fgsm"], store=tmp_path, track="wandb")


def test_the_command_offers_the_trackers_that_there_are(capsys):
    assert tuple(tracking.TRACKERS) == parser.TRACKERS
    with pytest.raises(SystemExit):
        cli.main(["benchmark", "spec.yaml", "--track", "wandb"])
    assert "choose from" in capsys.readouterr().err
