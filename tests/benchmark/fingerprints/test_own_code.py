"""The code of this package that tasks run is in the keys of their results."""

import sys
from pathlib import Path

import numpy as np
import pytest
from art.attacks.evasion import FastGradientMethod
from art.defences.preprocessor import SpatialSmoothing

import art_nip
from art_nip.benchmark import Attack, Benchmark, Defence
from art_nip.benchmark.execution.tasks import Classifying, Crafting, Inspecting
from art_nip.benchmark.fingerprints.installed import files_of_results
from tests.helpers import make_classifier
from tests.models import SMALL_SHAPE, small

ROOT = Path(art_nip.__file__).parent

NO_CODE_OF_TASKS = {"benchmark/schema/words.py"}
"""Words of tables, whose methods tasks call to write them."""


@pytest.fixture
def ran(monkeypatch):
    """The files of the package of which tasks ran code, by their places in it."""
    found = set()

    def note(frame, event, _):
        if event == "call":
            found.add(frame.f_code.co_filename)

    def noting(run):
        def noted(*arguments):
            sys.setprofile(note)
            try:
                return run(*arguments)
            finally:
                sys.setprofile(None)

        return noted

    for kind in (Crafting, Classifying, Inspecting):
        monkeypatch.setattr(kind, "run", noting(kind.run))
    return found


def test_all_that_tasks_run_counts(ran, tmp_path):
    rng = np.random.default_rng(0)
    x, bank = (rng.random((n, *SMALL_SHAPE["pytorch"]), dtype=np.float32) for n in (3, 40))
    classifier = make_classifier("pytorch", small("pytorch", gain=5.0), x.shape[1:], 4)
    trained = make_classifier("pytorch", small("pytorch", gain=3.0), x.shape[1:], 4)
    table = Benchmark(
        classifier,
        [
            Attack("adaptive", parameters={"max_iter": 2, "queries": 50}, limit=1),
            Attack("square", parameters={"max_iter": 3}),
            FastGradientMethod(classifier),
        ],
        [
            Defence("nip", parameters={"retrieval": "class"}),
            "jpeg",
            SpatialSmoothing(3, channels_first=True),
            Defence(trained, "trained"),
        ],
        threats=["oblivious", "adaptive"],
        store=tmp_path,
        verbose=False,
    ).run(x, classifier.predict(x).argmax(axis=1), (bank, classifier.predict(bank).argmax(axis=1)))
    assert (table.error == "").mean() > 0.9
    places = {Path(file).relative_to(ROOT).as_posix() for file in ran if file.startswith(str(ROOT))}
    assert "benchmark/plan/given.py" in places
    counted = {place.as_posix() for place, _ in files_of_results()}
    assert places - counted <= NO_CODE_OF_TASKS
    assert "benchmark/report/document.py" not in counted
