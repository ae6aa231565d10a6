"""Defences are fitted once for all exhibits, and the benchmark takes them as they are."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load, save

from art_nip.benchmark.fingerprints import fingerprint
from art_nip.benchmark.plan.defences import Defence, defence_entries
from art_nip.defences.sparse_transformation import SparseTransformation
from art_nip.defences.super_resolution import SuperResolution
from art_nip.paper.fitted import Fitted, fitted
from art_nip.paper.setting import Setting
from art_nip.paper.subjects import subjects
from tests.helpers import FRAMEWORKS

CLASSES = {"stl": SparseTransformation, "sr": SuperResolution}


@pytest.fixture(scope="module", params=FRAMEWORKS)
def setting(request, tmp_path_factory):
    return Setting(
        tmp_path_factory.mktemp("paper"),
        limit=4,
        tiny=True,
        framework=request.param,
        verbose=False,
    )


@pytest.fixture(scope="module")
def subject(setting):
    return subjects(setting)[0]


@pytest.mark.parametrize("name", CLASSES)
def test_a_defence_is_fitted_once(name, subject, setting, monkeypatch):
    first = fitted(subject, setting, name)(subject.x)[0]
    monkeypatch.setattr(CLASSES[name], "fit", None)
    again = fitted(subject, setting, name)
    np.testing.assert_allclose(again(subject.x)[0], first, atol=1e-5)
    assert np.abs(first - subject.x).max() > 1e-3


@pytest.mark.parametrize("damage", ["cut", "foreign", "empty"])
def test_a_damaged_file_is_to_be_deleted(damage, subject, setting):
    (path,) = (file for file in fitted_files(setting, subject) if "stl" in file.name)
    whole = path.read_bytes()
    made = {"cut": whole[:-8], "empty": b"", "foreign": save({"a": np.ones(3, np.float32)})}
    path.write_bytes(made[damage])
    try:
        with pytest.raises(ValueError, match=rf"{path.name} is damaged\. Delete it"):
            fitted(subject, setting, "stl")
        path.unlink()
        fitted(subject, setting, "stl")
        assert load(path.read_bytes()).keys() == load(whole).keys()
    finally:
        path.write_bytes(whole)


def test_another_bank_or_seed_is_another_fit(subject, setting, monkeypatch):
    files = set(fitted_files(setting, subject))
    monkeypatch.setattr(SparseTransformation, "fit", lambda *_: pytest.fail("fitted"))
    with pytest.raises(pytest.fail.Exception, match="fitted"):
        fitted(subject, replace(setting, seed=1), "stl")
    assert set(fitted_files(setting, subject)) == files


def test_a_benchmark_takes_it_as_it_is(subject, setting):
    defence = fitted(subject, setting, "stl")
    before = fingerprint(Fitted(defence))
    (_, entry) = defence_entries([Defence(Fitted(defence), "stl")], subject.classifier)
    assert entry.label == "stl"
    assert not entry.learns
    same = entry.make(subject.classifier)
    np.testing.assert_array_equal(same(subject.x)[0], defence(subject.x)[0])
    # What is kept between calls changes no key, and another fit does.
    assert fingerprint(Fitted(fitted(subject, setting, "stl"))) == before
    assert fingerprint(Fitted(defence)) == before
    assert fingerprint(Fitted(fitted(subject, setting, "sr"))) != before


def test_what_looks_at_the_model_is_fitted_for_it(subject, setting):
    nip = fitted(subject, setting, "nip")
    assert nip.is_fitted
    assert not list((setting.out / "results").glob("fitted-nip*"))


def fitted_files(setting, subject):
    fitted(subject, setting, "stl")
    return (setting.out / "results").glob("fitted-*")
