"""The questions to a GPU: on a CPU, all rows are there, and each has a figure or a reason."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu.bench import Bench
from tests.helpers import on_host_only

ROOT = Path(__file__).parents[2]
MEASURED = (
    "seconds",
    "ratio",
    "error",
    "per_image",
    "per_second",
    "worst",
    "cosine",
    "same",
    "model",
    "waits",
    "mib",
)
REASONS = {"there is no GPU", "compiling takes too long for a test"}
ROWS = {
    "same": 11,
    "predict": 40,
    "numpy": 6,
    "fit": 11,
    "class": 5,
    "bank": 11,
    "defences": 20,
    "train": 6,
    "compile": 3,
}
"""The number of rows by question."""


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """What a process without TensorFlow, as on a machine that lacks it, writes."""
    path = tmp_path_factory.mktemp("gpu") / "folder" / "gpu.json"
    code = (
        "import runpy, sys; sys.modules['tensorflow'] = sys.modules['keras'] = None;"
        f"sys.argv = ['gpu', '--tiny', '--json', {str(path)!r}];"
        "runpy.run_module('benchmarks.gpu', run_name='__main__')"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, check=True)
    return json.loads(path.read_text())


def test_every_row_is_there_once(asked):
    names = [(row["question"], row["row"]) for row in asked["rows"]]
    assert len(set(names)) == len(names)
    assert {question: sum(of == question for of, _ in names) for question in ROWS} == ROWS


def test_every_row_has_figures_or_a_reason(asked):
    for row in asked["rows"]:
        assert "traceback" not in row, row["traceback"]
        figures = {key for key in row if any(word in key for word in MEASURED)}
        assert figures or row["skipped"] in REASONS, row


@on_host_only("A GPU rounds otherwise than the CPU.")
def test_what_is_the_same_on_one_device_is_found_to_be(asked):
    against = [row for row in asked["rows"] if "against the CPU" in row["row"]]
    assert len(against) == 6
    for row in against:
        assert row["same_candidate"] == 1
        assert row["image_worst_error"] < 1e-6
        assert row["gradient_cosine_worst"] > 0.999


def test_a_row_that_fails_does_not_end_the_others(tmp_path):
    bench = Bench(60, tiny=True, path=tmp_path / "gpu.json")

    def rows():
        yield "one", lambda: 1 / 0
        yield "two", lambda: {"seconds": 2.0}
        raise RuntimeError("no model")

    bench.answer("some", rows())
    one, two, three = json.loads((tmp_path / "gpu.json").read_text())["rows"]
    assert one["error"] == "ZeroDivisionError: division by zero"
    assert two["seconds"] == 2.0
    assert three["error"] == "RuntimeError: no model"


def test_when_time_is_over_rows_say_so():
    bench = Bench(1, tiny=True)
    bench.answer("some", iter([("one", lambda: {"seconds": 1.0})]))
    assert bench.rows[0]["skipped"] == "no time was left"
