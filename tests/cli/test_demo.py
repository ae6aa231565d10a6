"""The demo end to end, tiny, in both frameworks: its tables, its files, and what is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
import pytest

from art_nip import cli
from art_nip.cli import demo
from art_nip.utils.frameworks import Framework
from tests.helpers import on_host_only

TINY = {"n_train": 300, "n_bank": 60, "n_test": 80, "epochs": 4}
TINY_QUIET_DEMO = f"""
import functools, sys
from art_nip import cli
from art_nip.cli import demo
demo.compare = functools.partial(demo.compare, **{TINY})
sys.exit(cli.main(["demo", "--quiet", *sys.argv[1:]]))
"""
WRITTEN = {"examples.png", "influence.png", "report.html", "report.md", "table.csv"}


@dataclass(frozen=True)
class Result:
    """What a demo left behind."""

    framework: str
    folder: Path
    process: subprocess.CompletedProcess[str]

    @cached_property
    def table(self) -> pd.DataFrame:
        return pd.read_csv(self.folder / "table.csv", keep_default_na=False, na_values=[""])

    def rate(self, attack, defence, metric, protocol="held-out"):
        rows = self.table.query(
            "attack == @attack and defence == @defence and metric == @metric"
            " and protocol == @protocol"
        )
        return float(rows["value"].item())


@pytest.fixture(scope="module", params=["pytorch", "tensorflow"])
def result(request, tmp_path_factory):
    """A tiny demo in a process of its own, where both frameworks are imported anew."""
    folder = tmp_path_factory.mktemp(request.param) / "new" / "folder"
    argv = [sys.executable, "-c", TINY_QUIET_DEMO, "--framework", request.param, "--out", folder]
    process = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return Result(request.param, folder, process)


def test_quiet_prints_the_tables_only(result):
    assert "it/s" not in result.process.stderr
    lines = result.process.stdout.splitlines()
    headings = [line for line in lines if ", oblivious: " in line]
    assert [heading.split(",")[0] for heading in headings] == ["held-out", "leaked"]
    rows = [line for line in lines if re.match("benign|FGSM|PGD|DeepFool", line)]
    assert len(rows) == len(lines) - len(headings) - lines.count("") - 2
    assert lines[1].split() == " ".join(["attack succeeds none", *demo.DEFENCES]).split()


def test_every_defence_is_measured_on_every_attack(result):
    assert result.table.error.isna().all()
    for protocol in ("held-out", "leaked"):
        measured = result.table[result.table.protocol == protocol]
        rates = measured[measured.metric == "dsr"]
        expected = {(attack, defence) for attack in demo.ATTACKS for defence in demo.DEFENCES}
        assert set(zip(rates.attack, rates.defence, strict=True)) == expected
    assert set(result.table.threat) == {"oblivious"}


def test_the_rates_are_of_a_model_that_learnt_something(result):
    assert result.rate("benign", "none", "accuracy") > 0.4
    assert result.rate("benign", "NIP", "accuracy") > 0.2
    assert result.rate("DeepFool", "none", "asr") > 0.9


def test_a_leaked_bank_holds_the_attacked_images(result):
    held_out, leaked = (
        result.rate("DeepFool", "NIP class", "dsr", protocol) for protocol in ("held-out", "leaked")
    )
    assert leaked >= held_out
    assert leaked > 0.8


def test_the_files_are_there(result):
    assert set(os.listdir(result.folder)) >= WRITTEN
    for name in ("examples.png", "influence.png"):
        assert (result.folder / name).read_bytes().startswith(b"\x89PNG")


@on_host_only("A device rounds differently each time.")
def test_the_same_seed_gives_the_same_rates_and_without_quiet_an_explanation(
    result, tmp_path, capfd, monkeypatch
):
    tiny = demo.compare
    monkeypatch.setattr(demo, "compare", lambda *args, **keywords: tiny(*args, **keywords, **TINY))
    assert cli.main(["demo", "--framework", result.framework, "--out", str(tmp_path)]) == 0
    rates = ["accuracy", "asr", "dsr", "l2"]
    again = Result(result.framework, tmp_path, result.process).table
    columns = ["attack", "defence", "protocol", "metric", "value", "low", "high", "n"]
    pd.testing.assert_frame_equal(
        again[again.metric.isin(rates)][columns],
        result.table[result.table.metric.isin(rates)][columns],
    )
    printed = capfd.readouterr()
    assert printed.out.startswith(result.process.stdout)
    assert demo.EXPLANATION in printed.out
    assert f"Written to {tmp_path}" in printed.out
    assert "crafting: 100%" in printed.err


def test_pytorch_gets_its_threads_back(tmp_path, monkeypatch):
    import torch

    threads = torch.get_num_threads()

    def interrupted(*_):
        assert torch.get_num_threads() == 1
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "trained", interrupted)
    with pytest.raises(KeyboardInterrupt):
        demo.compare(Framework.PYTORCH, tmp_path)
    assert torch.get_num_threads() == threads


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
