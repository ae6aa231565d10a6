"""The commands `benchmark` and `report`; those of `demo` and `train` are with what they start."""

import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from art.attacks.evasion import FastGradientMethod

from art_nip import cli
from art_nip.benchmark.execution import engines
from art_nip.cli import parser, tables
from art_nip.zoo import classifiers
from art_nip.zoo.classifiers import TrainedModel

SPEC = """\
model: {weights: own-lenet5.safetensors}
data: {name: own, images: 40, bank: 60}
attacks:
  - {name: fgsm, eps: [0.1, 0.3]}
  - {name: pgd, max_iter: 2, eps: 0.3, eps_step: 0.1, limit: 20}
defences: [ss, jpeg, nip]
protocols: [held-out, leaked]
"""


@pytest.fixture
def folder(digits, lenet, tmp_path, monkeypatch):
    """A working directory with weights, somebody's own data set, and a spec file."""
    monkeypatch.chdir(tmp_path)
    for part, name in (("train", "bank"), ("test", "test")):
        x, y = digits[name]
        np.savez(f"own-{part}.npz", x=x, y=y)
    trained = TrainedModel("lenet5", (1, 28, 28), 10, 0.0, 1.0)
    classifiers.save(tmp_path / "own-lenet5.safetensors", lenet["pytorch"], trained)
    (tmp_path / "runs.yaml").write_text(SPEC)
    return tmp_path


def test_benchmark_command(folder, capsys):
    argv = ["benchmark", "runs.yaml", "--data", ".", "--quiet"]
    assert cli.main([*argv, "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "0 of 32 cells are in results/runs already."
    assert not (folder / "results").exists()

    assert cli.main(argv) == 0
    printed = capsys.readouterr().out
    heading, columns, *rows = printed.splitlines()
    assert heading == "held-out, oblivious: accuracy on benign images, and DSR, in %"
    assert columns.split() == ["attack", "succeeds", "none", "ss", "jpeg", "nip"]
    assert [row.split("  ")[0] for row in rows[:4]] == ["benign", "fgsm ε=0.1", "fgsm ε=0.3", "pgd"]
    assert "leaked, oblivious: " in printed
    assert printed.endswith("Table: results/runs/table.csv\nReport: results/runs/report.html\n")
    table = pd.read_csv("results/runs/table.csv")
    rate = table.query("attack == 'pgd' and defence == 'jpeg' and metric == 'dsr'").iloc[0]
    assert rate.n <= 20
    cell = f"{100 * rate.value:.0f} [{100 * rate.low:.0f}, {100 * rate.high:.0f}]"
    assert cell in rows[3]

    assert cli.main([*argv, "--dry-run"]) == 0
    assert "32 of 32 cells are in results/runs already." in capsys.readouterr().out
    assert cli.main([*argv, "--dry-run", "--limit", "10"]) == 0
    printed = capsys.readouterr().out
    assert "0 of 32 cells" in printed
    assert {line.split()[-2] for line in printed.splitlines()[1:-1]} == {"10"}


def test_report_command(folder, capsys):
    assert cli.main(["benchmark", "runs.yaml", "--data", ".", "--quiet", "--limit", "10"]) == 0
    report = folder / "results/runs/report.html"
    first = report.read_text()
    report.unlink()
    capsys.readouterr()
    assert cli.main(["report", "results/runs"]) == 0
    assert capsys.readouterr().out == "Report: results/runs/report.html\n"
    assert len(report.read_text()) == pytest.approx(len(first), rel=0.1)


def test_report_command_on_no_results(tmp_path, capsys):
    assert cli.main(["report", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("art-nip: ")
    assert str(tmp_path) in error


def test_a_cell_that_raises_is_told(folder, capsys, monkeypatch):
    def raises(*_, **__):
        raise RuntimeError("no gradient today")

    monkeypatch.setattr(FastGradientMethod, "generate", raises)
    argv = ["benchmark", "runs.yaml", "--data", ".", "--limit", "10", "--quiet"]
    assert cli.main(argv) == 1
    output = capsys.readouterr()
    assert "Table: results/runs/table.csv" in output.out
    lines = [line for line in output.err.splitlines() if line.startswith("art-nip: ")]
    assert len(lines) == 1
    assert lines[0].startswith("art-nip: RuntimeError: no gradient today (")
    assert "fgsm ε=0.1 on none, ss, jpeg, nip (oblivious, held-out)" in lines[0]


def test_a_parameter_that_cannot_be_is_refused_before_anything_runs(folder, capsys):
    spec = SPEC.replace("defences:", "  - {name: auna, repeats: 0}\ndefences:")
    (folder / "runs.yaml").write_text(spec)
    assert cli.main(["benchmark", "runs.yaml", "--data", ".", "--dry-run"]) == 2
    assert "repeats" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spec", "more", "message"),
    [
        ("a: [", [], "runs.yaml, line 1: this is not valid YAML"),
        (SPEC.replace("fgsm", "fsgm"), [], "runs.yaml, line 4, attacks[0]: There is no attack"),
        (SPEC.replace("own-l", "no-l"), [], "There are no weights no-lenet5.safetensors."),
        (SPEC.replace("name: own", "name: two"), [], "neither two-test.parquet nor two-test.npz"),
        (SPEC, ["--address", "localhost"], "add --engine ray or --engine dask"),
    ],
)
def test_mistakes_of_the_user_end_in_a_sentence(folder, capsys, spec, more, message):
    (folder / "runs.yaml").write_text(spec)
    assert cli.main(["benchmark", "runs.yaml", "--data", ".", *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("art-nip: ")
    assert message in error
    assert len(error.splitlines()) == 1


def test_no_spec_file(tmp_path, capsys):
    assert cli.main(["benchmark", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert cli.main(["benchmark", "runs.yaml"]) == 2
    assert "pip install 'art-nip[benchmark]'" in capsys.readouterr().err


def test_the_command_offers_the_engines_that_there_are():
    assert tuple(parser.ENGINES) == tuple(engines.ENGINES)


def test_help_imports_nothing_heavy():
    program = (
        "import sys\nfrom art_nip import cli\n"
        "try: cli.main(['benchmark', '--help'])\nexcept SystemExit: pass\n"
        "print({'torch', 'tensorflow', 'art', 'pandas', 'pydantic', 'numpy'} & set(sys.modules))"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.splitlines()[-1] == "set()"


def test_rates_of_nothing_and_of_no_defence():
    columns = ["attack", "defence", "protocol", "threat", "metric", "value", "low", "high"]
    where = ("held-out", "oblivious")
    rows = [
        ("benign", "none", *where, "accuracy", 0.9, 0.8, 1.0),
        ("b", "none", *where, "asr", 0.25, 0.1, 0.5),
        ("b", "z", *where, "dsr", 0.5, 0.25, 0.75),
        ("b", "y", *where, "dsr", float("nan"), 0, 1),
        ("a", "z", *where, "dsr", 1.0, 0.9, 1.0),
    ]
    printed = tables.success_rates(pd.DataFrame(rows, columns=columns))
    lines = [re.split("  +", line.strip()) for line in printed.splitlines()[1:]]
    assert lines == [
        ["attack succeeds", "none", "z", "y"],
        ["benign", "90 [80, 100]"],
        ["b", "25 [10, 50]", "50 [25, 75]", "-"],
        ["a", "100 [90, 100]"],
    ]
    nothing = tables.success_rates(pd.DataFrame([], columns=columns))
    assert "no defence success rate" in nothing


def test_accuracies_under_adaptive_attacks_are_told():
    columns = ["attack", "defence", "protocol", "threat", "metric", "value", "low", "high"]
    where = ("held-out", "adaptive")
    rows = [
        ("benign", "none", *where, "accuracy", 0.9, 0.8, 1.0),
        ("b", "none", *where, "accuracy", 0.25, 0.1, 0.5),
        ("b", "z", *where, "accuracy", 0.5, 0.25, 0.75),
        ("b", "z", *where, "l2", 3.0, 2.0, 4.0),
        ("b", "z", "held-out", "oblivious", "accuracy", 1.0, 0.9, 1.0),
    ]
    printed = tables.robust_accuracies(pd.DataFrame(rows, columns=columns))
    lines = [re.split("  +", line.strip()) for line in printed.splitlines()[1:]]
    assert lines == [
        ["none", "z"],
        ["benign", "90 [80, 100]"],
        ["b", "25 [10, 50]", "50 [25, 75]"],
    ]
    assert tables.robust_accuracies(pd.DataFrame(rows[-1:], columns=columns)) == ""
