"""Labels of every source are checked alike, and what is wrong is found in its row."""

from __future__ import annotations

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from art_nip import data
from art_nip.data import hub
from art_nip.data.labels import MOST_CLASSES, class_indices
from tests.data.writers import encode, write_npz

BAD = {
    "null": ([0, 1, None, 1], r"row 2: the label is missing \(null\)"),
    "negative": ([0, -1, 1, 1], "row 1: the label is -1"),
    "fraction": ([0.5, 1.0, 0.0, 1.0], r"row 0: the label is 0\.5 \(float"),
    "not a number": ([float("nan"), 1.0, 0.0, 1.0], r"row 0: the label is nan \(float"),
    "text": (["cat", "dog", "cat", "cat"], r"row 0: the label is cat \(str_?\)"),
    "truth": ([False, True, True, False], r"row 0: the label is False \(bool"),
    "large": ([0, 1, 2, 10**12], "row 3: the label is 1000000000000, which is no index"),
}


def read(form, labels, folder):
    """Read four images with these labels from a source."""
    images = np.zeros((4, 2, 2, 3), np.uint8)
    cells = [{"bytes": encode(image), "path": None} for image in images]
    if form == "npz":
        write_npz(folder / "mine-test.npz", images, labels)
    elif form == "parquet":
        pq.write_table(pa.table({"image": cells, "label": labels}), folder / "mine-test.parquet")
    else:
        rows = datasets.Dataset.from_dict({"image": cells, "label": labels})
        dataset = rows.cast_column("image", datasets.Image())
        part = hub.from_dataset(dataset, hub.Repository("somebody/mine-test"))
        return part.arrays(part.first(None), channels_first=True)
    return data.load("mine", "test", folder=folder)


@pytest.mark.parametrize("form", ["npz", "parquet", "hub"])
@pytest.mark.parametrize("kind", BAD)
def test_a_label_that_is_no_class_index_is_refused_with_its_row(tmp_path, form, kind):
    labels, message = BAD[kind]
    if form == "npz" and kind == "null":
        message = "holds objects"  # which would have to be unpickled
    with pytest.raises(ValueError, match=rf"mine-test.*{message}"):
        read(form, labels, tmp_path)


@pytest.mark.parametrize("form", ["npz", "parquet", "hub"])
def test_labels_of_any_whole_type_are_read(tmp_path, form):
    labels = [2, 0, 1, 2] if form == "hub" else np.array([2, 0, 1, 2], np.uint8)
    _, y, names = read(form, labels, tmp_path)
    assert (sorted(y), y.dtype, names) == ([0, 1, 2, 2], np.int64, ["0", "1", "2"])


@pytest.mark.parametrize("y", [np.eye(2, dtype=int), np.array(1)], ids=["one-hot", "scalar"])
def test_labels_of_a_file_of_arrays_are_one_row_of_numbers(tmp_path, y):
    write_npz(tmp_path / "mine-test.npz", np.zeros((2, 4, 4)), y)
    with pytest.raises(ValueError, match=r"one for each image, shape \(N,\); got shape"):
        data.load("mine", "test", folder=tmp_path)


whole = st.integers(0, MOST_CLASSES - 1)
anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.lists(whole)
)


@given(st.lists(whole))
def test_class_indices_come_back(values):
    assert class_indices(values, "mine").tolist() == values


@given(st.lists(whole), anything)
def test_anything_else_is_refused_in_its_row(values, other):
    if type(other) is int and 0 <= other < MOST_CLASSES:
        other = -1 - other
    with pytest.raises(ValueError, match=rf"^mine, row {len(values)}: the label is "):
        class_indices([*values, other, *values], "mine")
