"""Results are computed once, and told apart by what determines them."""

from pathlib import Path

import numpy as np
import pytest

from art_nip.paper.setting import Results, Setting
from art_nip.paper.subjects import subjects


def never():
    raise AssertionError("it is there already")


def test_a_record_is_computed_once(tmp_path):
    results = Results(tmp_path / "new")
    made = {"hits": [1, 0], "seconds": 0.5}
    assert results.record("rung", {"seed": 0}, lambda: made) == made
    assert results.record("rung", {"seed": 0}, never) == made
    assert results.record("rung", {"seed": 1}, lambda: {"hits": []}) == {"hits": []}
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_so_are_arrays(tmp_path):
    results, made = Results(tmp_path), {"x": np.arange(4.0)}
    np.testing.assert_array_equal(results.arrays("x", {}, lambda: made)["x"], made["x"])
    np.testing.assert_array_equal(results.arrays("x", {}, never)["x"], made["x"])


def test_what_raises_leaves_nothing(tmp_path):
    with pytest.raises(AssertionError):
        Results(tmp_path).record("rung", {}, never)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["record", "arrays"])
def test_a_damaged_file_is_told(tmp_path, kind):
    results = Results(tmp_path)
    getattr(results, kind)("name", {}, lambda: {"x": np.zeros(3)} if kind == "arrays" else {})
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:10])
    with pytest.raises(ValueError, match=path.name):
        getattr(results, kind)("name", {}, never)


@pytest.mark.parametrize(
    "wrong", [{"limit": 0}, {"bank": 0}, {"seed": -1}, {"framework": "jax"}, {"tiny": 1}]
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Setting(Path("out"), **wrong)


def test_the_bank_is_as_large_as_asked_for(tmp_path):
    (subject,) = subjects(Setting(tmp_path, limit=4, bank=20, tiny=True, verbose=False))
    assert [len(part) for part in subject.bank] == [20, 20]
