"""What learned defences save and load: alike for each, in any framework, and nothing else."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.exceptions import NotFittedError

from art_nip import defences
from art_nip.utils.files import reading
from tests.defences.helpers import ENDINGS, crops

QUICK = {
    "SparseTransformation": {"n_filters": 8, "filter_size": 5, "n_crops": 16, "iterations": 5},
    "SuperResolution": {"features": 4, "blocks": 1, "steps": 2},
}


@pytest.fixture(scope="module", params=QUICK)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def fitted(family):
    kind = getattr(defences, family)
    defence = kind(**QUICK[family], seed=0, verbose=False, clip_values=(0, 1), apply_fit=True)
    defence.fit(crops(12))
    return defence


@pytest.fixture
def path(fitted, tmp_path):
    fitted.save(tmp_path / "file.safetensors")
    return tmp_path / "file.safetensors"


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_comes_back_whole_in_any_framework(ending, family, fitted, path, pictures):
    kind = getattr(defences, family + ending)
    loaded = kind.load(path)
    assert type(loaded) is kind
    assert loaded.is_fitted
    assert (loaded.apply_fit, loaded.apply_predict) == (True, True)
    for name in fitted.params:
        assert np.array_equal(getattr(loaded, name), getattr(fitted, name)), name
    np.testing.assert_allclose(loaded(pictures)[0], fitted(pictures)[0], atol=1e-5)


def test_settings_take_the_place_of_those_saved(family, fitted, path, pictures):
    kind = getattr(defences, f"{family}PyTorch")
    wide = kind.load(path, clip_values=(0, 255), batch_size=3, device_type="cpu")
    assert (wide.batch_size, wide.clip_values) == (3, (0, 255))
    np.testing.assert_allclose(wide(255 * pictures)[0] / 255, fitted(pictures)[0], atol=1e-4)
    with pytest.raises(ValueError, match="seed=3 decides what is learned"):
        kind.load(path, seed=3)
    with pytest.raises(TypeError, match="no device_type"):
        getattr(defences, family).load(path, device_type="cpu")


def test_loading_needs_no_instance_and_changes_none(family, fitted, path, pictures):
    expected = fitted(pictures)[0]
    assert fitted.load(path) is not fitted
    np.testing.assert_array_equal(fitted(pictures)[0], expected)


def test_unfitted_there_is_nothing_to_save(family, tmp_path):
    defence = getattr(defences, family)(clip_values=(0, 1))
    with pytest.raises(NotFittedError, match=r"call fit\(x_benign\), or load a saved one"):
        defence.save(tmp_path / "none")
    assert not list(tmp_path.iterdir())


def changed(path, **changes):
    """Write the file anew with other parts: arrays, or texts of the header; None leaves one out."""
    arrays = load_file(path)
    with reading(path, "") as file:
        header = dict(file.metadata())
    for name, value in changes.items():
        part = header if name in header else arrays
        part.pop(name, None)
        if value is not None:
            part[name] = value
    save_file(arrays, path, header)


@pytest.mark.parametrize(
    "change",
    [
        {"format": "another"},
        {"parameters": None},
        {"parameters": "{"},
        {"parameters": "[1, 2]"},
        {"parameters": json.dumps({"unknown": 1})},
        {"parameters": json.dumps({"clip_values": [1, 0]})},
        {"facts": None},
        {"stranger": np.zeros(3, np.float32)},
        {"stranger": np.full((1, 1), np.nan, np.float32)},
        {"stranger": np.zeros(3, np.float64)},
    ],
    ids=str,
)
def test_what_is_wrong_with_a_file_is_one_sentence(change, family, path):
    changed(path, **change)
    kind = getattr(defences, family)
    if set(change) == {"stranger"} and np.isfinite(change["stranger"]).all():
        change = {"filters": change["stranger"], "head.weight": change["stranger"]}
        changed(path, **change)
    with pytest.raises(ValueError, match=f"not one of {family}: .*{family}.save wrote"):
        kind.load(path)


@pytest.mark.parametrize("family", ["SuperResolution"], indirect=True)
def test_a_file_that_names_another_which_is_missing(family, path):
    changed(path, parameters=json.dumps({"clip_values": [0, 1], "weights": "absent.safetensors"}))
    with pytest.raises(ValueError, match=rf"{path} .*: There is no file absent\.safetensors"):
        getattr(defences, family).load(path)


def test_files_that_are_none(family, path, tmp_path):
    kind = getattr(defences, family)
    with pytest.raises(FileNotFoundError, match=f"There is no file .*absent.*{family}.save"):
        kind.load(tmp_path / "absent")
    with pytest.raises(FileNotFoundError, match="There is no file"):
        kind.load(tmp_path)
    whole = path.read_bytes()
    for spoilt in (whole[:-10], whole[:5], b"", b"hello" * 9):
        path.write_bytes(spoilt)
        with pytest.raises(ValueError, match="truncated or not a safetensors file"):
            kind.load(path)


def test_files_of_one_are_none_of_the_other(family, path):
    (other,) = set(QUICK) - {family}
    with pytest.raises(ValueError, match=f"not one of {other}: it is not marked as one"):
        getattr(defences, other).load(path)


def test_benign_images_outside_the_range_teach_nothing(family, fitted, pictures):
    expected = fitted(pictures)[0]
    with pytest.raises(ValueError, match="outside the clip_values"):
        fitted.fit(255 * pictures)
    np.testing.assert_array_equal(fitted(pictures)[0], expected)


def test_what_was_learned_is_dropped_when_it_would_have_been_another(family, path):
    defence = getattr(defences, family).load(path)
    defence.set_params(batch_size=2, clip_values=(-1, 1))
    assert defence.is_fitted
    defence.set_params(seed=9)
    assert not defence.is_fitted


def test_a_network_named_by_a_parameter_is_saved_itself(tmp_path, pictures):
    """The file that was named may be gone when the saved one is loaded."""
    trained = defences.SuperResolution(
        **QUICK["SuperResolution"], seed=0, clip_values=(0, 1), verbose=False
    )
    trained.fit(crops(12))
    trained.save(tmp_path / "first")
    named = defences.SuperResolution(weights=tmp_path / "first", clip_values=(0, 1))
    named.save(tmp_path / "second")
    (tmp_path / "first").unlink()
    loaded = defences.SuperResolution.load(tmp_path / "second")
    np.testing.assert_array_equal(loaded(pictures)[0], trained(pictures)[0])
