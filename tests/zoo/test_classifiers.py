"""Files of weights: what is damaged is refused, with its name, before a model is made of it."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from art_nip import zoo
from art_nip.utils.files import write_arrays
from art_nip.zoo import classifiers, training
from art_nip.zoo.classifiers import FORMAT, TrainedModel
from art_nip.zoo.training import Recipe

ENTRIES = {
    "name": "lenet5",
    "image_shape": [1, 28, 28],
    "nb_classes": 10,
    "mean": 0.0,
    "std": 1.0,
    "note": "",
    "defence": None,
}


def write(path, header, weights=None):
    arrays = weights or {"features.0.bias": np.zeros(6, np.float32)}
    write_arrays(path, arrays, {"format": FORMAT, "trained": header})


def test_entries_that_are_right_are_read(tmp_path):
    write(tmp_path / "a.safetensors", json.dumps({**ENTRIES, "of a later version": 1}))
    trained, weights = classifiers.read(tmp_path / "a.safetensors")
    assert trained == TrainedModel("lenet5", (1, 28, 28), 10, 0.0, 1.0)
    assert list(weights) == ["features.0.bias"]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "lenet"},
        {"image_shape": 28},
        {"image_shape": [1, "28", 28]},
        {"image_shape": [1, 28, 28, 1]},
        {"image_shape": [1, 28]},
        {"image_shape": [1, 10**30, 28]},
        {"nb_classes": 1},
        {"nb_classes": "10"},
        {"mean": None},
        {"std": 0},
        {"std": float("nan")},
        {"defence": "none"},
    ],
    ids=str,
)
def test_entries_that_no_model_has_are_refused(tmp_path, change):
    write(tmp_path / "a.safetensors", json.dumps({**ENTRIES, **change}))
    with pytest.raises(ValueError, match=r"a\.safetensors does not say what it is of \(.*again"):
        classifiers.read(tmp_path / "a.safetensors")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(
    header=st.one_of(
        st.text(),
        json_values.map(json.dumps),
        st.dictionaries(st.sampled_from(list(ENTRIES)), json_values).map(
            lambda change: json.dumps({**ENTRIES, **change})
        ),
    )
)
def test_any_header_is_read_or_refused(tmp_path_factory, header):
    path = tmp_path_factory.getbasetemp() / "any.safetensors"
    header = header.encode("utf-8", "replace").decode()
    write(path, header)
    try:
        said = f"{path} {classifiers.read(path)[0].name in zoo.NAMES}"
    except ValueError as error:
        said = str(error)
    assert said.startswith(str(path))
    assert not said.endswith("False")


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    broken = {"features.0.bias": np.array([0, np.nan], np.float32)}
    write(tmp_path / "a.safetensors", json.dumps(ENTRIES), broken)
    with pytest.raises(ValueError, match=r"a\.safetensors is damaged: features\.0\.bias holds NaN"):
        classifiers.read(tmp_path / "a.safetensors")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"There is no file {tmp_path}. Train or copy it"):
        classifiers.read(tmp_path)


def test_weights_of_another_model_are_refused_with_their_file(tmp_path):
    other = {"features.0.bias": np.zeros(50_000, np.float32)}
    write(tmp_path / "a.safetensors", json.dumps(ENTRIES), other)
    with pytest.raises(ValueError, match=r"a\.safetensors is damaged: The weights do not fit"):
        classifiers.load(tmp_path / "a.safetensors", "pytorch")


@pytest.mark.parametrize(
    "change", [{"nb_classes": 10**9}, {"nb_classes": 10**30}, {"image_shape": [1, 60_000, 60_000]}]
)
def test_a_model_with_more_weights_than_the_file_is_not_made(tmp_path, framework, change):
    """It would take hundreds of gigabytes."""
    write(tmp_path / "a.safetensors", json.dumps({**ENTRIES, **change}))
    with pytest.raises(ValueError, match=r"a\.safetensors is damaged: .* it holds 6\."):
        classifiers.load(tmp_path / "a.safetensors", framework)


@pytest.mark.parametrize("defence", [None, *zoo.TRAINED_DEFENCES])
@pytest.mark.parametrize("name", zoo.NAMES)
def test_weights_are_counted_without_a_model(name, defence):
    shape = (3, 32, 32)
    with torch.device("meta"):  # which takes no memory
        model = zoo.create(name, input_shape=shape, nb_classes=10, defence=defence)
    of_layers = [p.numel() for m in model.modules() for p in m.parameters(recurse=False)
                 if isinstance(m, nn.Conv2d | nn.Linear) and p.ndim > 1]  # fmt: skip
    trained = TrainedModel(name, shape, 10, 0.0, 1.0, defence=defence)
    trained.check_count(sum(of_layers))
    with pytest.raises(ValueError, match=f"has at least {sum(of_layers):,} weights"):
        trained.check_count(sum(of_layers) - 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y": np.zeros(60)}, "class indices, int64, from 0 on; got float64"),
        ({"y": np.full(60, -1)}, "class indices, int64, from 0 on; got int64"),
        ({"x": np.full((60, 1, 28, 28), np.nan, np.float32)}, "NaN or infinite"),
        ({"std": 0.0}, r"std=0\.0; give a number above 0"),
        ({"mean": float("nan")}, "mean=nan; give a number"),
    ],
    ids=["fractions", "negative", "NaN", "std", "mean"],
)
def test_what_cannot_be_trained_on_is_refused(change, message):
    given = {"x": np.zeros((60, 1, 28, 28), np.float32), "y": np.zeros(60, np.int64), **change}
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    with pytest.raises(ValueError, match=message):
        training.train(model, recipe=Recipe(1, 50, bfloat16=False), verbose=False, **given)


def test_what_is_no_model_cannot_be_trained():
    x, y = np.zeros((60, 1, 28, 28), np.float32), np.zeros(60, np.int64)
    with pytest.raises(TypeError, match=r"Expected a model, .* but got str"):
        training.train("lenet5", x, y, Recipe(1, 50), verbose=False)


def test_downloads_are_what_the_documents_say():
    docs = Path(__file__).parents[2] / "docs"
    page = (docs / "paper/models.md").read_text(encoding="utf-8")
    sums = dict(re.findall(r"^([0-9a-f]{64})  (downloads/.+)$", page, re.MULTILINE))
    files = sorted((docs / "downloads").iterdir())
    assert {sha256(f.read_bytes()).hexdigest(): f"downloads/{f.name}" for f in files} == sums
    assert sum(file.stat().st_size for file in files) < 5e6
    for file in files:
        assert f"](../downloads/{file.name})" in page
        trained, _ = classifiers.read(file)
        assert f"| {trained.note.partition(': ')[2].partition(' of ')[0]} of " in page


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"])
def test_a_download_is_a_classifier_in_both_frameworks(framework):
    file = Path(__file__).parents[2] / "docs/downloads/gtsrb-resnet20.safetensors"
    classifier = classifiers.load(file, framework)
    assert classifier.predict(np.zeros((1, *classifier.input_shape), np.float32)).shape == (1, 43)
