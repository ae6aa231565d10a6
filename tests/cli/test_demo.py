"""The demo end to end, tiny, in both frameworks; its table, its files, and the command line."""

from __future__ import annotations

import contextlib
import csv
import functools
import math
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest

from art_nip import cli
from art_nip.cli import demo
from art_nip.cli.demo import Measurement

DEFENCES = ["none", "SpatialSmoothing 2×2", "JpegCompression 80", "NIP"]
ATTACKS = ["FGSM ε=0.1", "PGD ε=0.1", "DeepFool"]

TINY = {"n_train": 300, "n_bank": 40, "n_test": 20, "epochs": 4}
TINY_QUIET_DEMO = f"""
import functools, sys
from art_nip import cli
from art_nip.cli import demo
demo.run = functools.partial(demo.run, **{TINY})
sys.exit(cli.main(["demo", "--quiet", *sys.argv[1:]]))
"""


@dataclass(frozen=True)
class Result:
    framework: str
    folder: Path
    process: subprocess.CompletedProcess[str]

    @functools.cached_property
    def rows(self):
        with open(self.folder / "table.csv", newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def rate(self, attack, defence, metric):
        wanted = {"attack": attack, "defence": defence, "metric": metric}
        (row,) = (row for row in self.rows if row.items() >= wanted.items())
        return float(row["value"] or "nan")


@pytest.fixture(scope="module", params=["pytorch", "tensorflow"])
def result(request, tmp_path_factory):
    """A tiny demo in a process of its own, where both frameworks are imported anew."""
    if find_spec({"pytorch": "torch"}.get(request.param, request.param)) is None:
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.mktemp(request.param) / "new" / "folder"
    argv = [sys.executable, "-c", TINY_QUIET_DEMO, "--framework", request.param, "--out", folder]
    process = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return Result(request.param, folder, process)


def test_quiet_prints_the_table_only(result):
    assert "it/s" not in result.process.stderr
    assert "images/s" not in result.process.stderr
    lines = result.process.stdout.splitlines()
    assert re.split("  +", lines[0])[2:] == [f"DSR, {attack}" for attack in ATTACKS]
    assert [line.split("  ")[0] for line in lines[2:6]] == DEFENCES
    assert len(lines) == 10


def test_every_defence_is_measured_on_every_attack(result):
    measured = [(row["attack"], row["defence"], row["metric"]) for row in result.rows]
    expected = [("none", defence, "accuracy") for defence in DEFENCES]
    expected += [(attack, defence, "DSR") for attack in ATTACKS for defence in DEFENCES]
    expected += [(attack, "none", metric) for attack in ATTACKS for metric in ("ASR", "L2")]
    assert sorted(measured) == sorted(expected)


def test_the_rates_are_of_a_model_that_learnt_something(result):
    assert result.rate("none", "none", "accuracy") > 0.4
    assert result.rate("none", "NIP", "accuracy") > 0.2
    assert result.rate("DeepFool", "none", "ASR") > 0.9
    assert result.rate("DeepFool", "none", "DSR") == 0


def test_every_row_says_its_protocol_and_threat(result):
    assert {(row["protocol"], row["threat"]) for row in result.rows} == {("held-out", "oblivious")}


def test_the_files_are_there_and_no_others(result):
    assert sorted(os.listdir(result.folder)) == ["examples.png", "influence.png", "table.csv"]
    assert (result.folder / "examples.png").read_bytes().startswith(b"\x89PNG")
    assert (result.folder / "influence.png").read_bytes().startswith(b"\x89PNG")
    header = (result.folder / "table.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "attack,defence,protocol,threat,metric,value,low,high,n"


def test_the_same_seed_gives_the_same_table_and_without_quiet_an_explanation(
    result, tmp_path, capfd, monkeypatch
):
    monkeypatch.setattr(demo, "run", functools.partial(demo.run, **TINY))
    assert cli.main(["demo", "--framework", result.framework, "--out", str(tmp_path)]) == 0
    table = (result.folder / "table.csv").read_bytes()
    assert (tmp_path / "table.csv").read_bytes() == table
    printed = capfd.readouterr()
    assert printed.out.startswith(result.process.stdout)
    assert demo.EXPLANATION in printed.out
    assert f"Written to {tmp_path}" in printed.out
    assert "DeepFool: 100%" in printed.err


def test_table_is_aligned_and_complete():
    rows = [
        Measurement("none", "none", "held-out", "oblivious", "accuracy", 0.95, 0.9, 1.0, 100),
        Measurement("none", "NIP", "held-out", "oblivious", "accuracy", 0.9, 0.85, 0.95, 100),
        Measurement("FGSM", "none", "held-out", "oblivious", "ASR", 0.5, 0.4, 0.6, 95),
        Measurement("FGSM", "none", "held-out", "oblivious", "L2", 1.234, math.nan, math.nan, 48),
        Measurement("FGSM", "none", "held-out", "oblivious", "DSR", 0.0, 0.0, 0.07, 48),
        Measurement("FGSM", "NIP", "held-out", "oblivious", "DSR", math.nan, 0.0, 1.0, 0),
    ]
    assert demo.table(rows).splitlines() == [
        "                     benign accuracy       DSR, FGSM",
        "──────────────────────────────────────────────────────────────",
        "none                 95.0 % [90.0, 100.0]  0.0 % [0.0, 7.0]",
        "NIP                  90.0 % [85.0, 95.0]   n/a (n = 0)",
        "──────────────────────────────────────────────────────────────",
        "attack success rate                        50.0 % [40.0, 60.0]",
        "successful attacks                         48",
        "their mean L2                              1.23",
    ]


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    path.write_bytes(b"old")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        demo.write_bytes(path, b"new")
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [
        ("table.csv", b"old")
    ]


def test_pytorch_gets_its_threads_back():
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    with contextlib.suppress(KeyboardInterrupt), demo._one_thread("pytorch"):
        assert torch.get_num_threads() == 1
        raise KeyboardInterrupt
    assert torch.get_num_threads() == threads


def test_unknown_framework(tmp_path):
    with pytest.raises(ValueError, match="one of pytorch, tensorflow; got 'jax'"):
        demo.run("jax", tmp_path)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["dance"],
        ["demo", "--framework", "jax"],
        ["demo", "--seed", "-1"],
        ["demo", "--seed", "x"],
        ["demo", "--fast"],
    ],
)
def test_bad_options_are_argparse_errors(argv, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(argv)
    assert "usage: art-nip" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "argv", "install"),
    [
        ("torch", ["--framework", "pytorch"], "art-nip[pytorch]"),
        ("tensorflow", ["--framework", "tensorflow"], "art-nip[tensorflow]"),
        ("mlxtend", [], "art-nip[benchmark]"),
        ("matplotlib", [], "art-nip[benchmark]"),
    ],
)
def test_what_is_missing_is_one_sentence(module, argv, install, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    assert cli.main(["demo", "--out", str(tmp_path), *argv]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"art-nip: art-nip needs {module} to run the demo")
    assert error.endswith(f"pip install '{install}'.\n")
    assert error.count("\n") == 1


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert cli.main(["demo", "--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_line_imports_nothing_heavy():
    code = (
        "import sys, art_nip.cli; "
        "print({'art', 'numpy', 'torch', 'tensorflow', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
