"""Image sets in parquet files, as the `datasets` library writes them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from art_nip import data
from tests.data.writers import write_parquet


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


@pytest.mark.parametrize("limit", [None, 1])
def test_parquet_without_names_counts_all_classes(tmp_path, images, limit):
    path = write_parquet(tmp_path / "set.parquet", images, [0, 2, 1, 0, 1], names=None)
    assert data.parquet(path, limit=limit)[2] == ["0", "1", "2"]


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


@pytest.mark.parametrize("limit", [0, -1, 2.0, "2", True])
def test_parquet_rejects_a_limit_that_is_no_number_of_images(tmp_path, images, limit):
    write_parquet(tmp_path / "set.parquet", images, range(5))
    with pytest.raises(ValueError, match=f"limit={limit!r}; give a whole number of at least 1"):
        data.parquet(tmp_path / "set.parquet", limit=limit)


def test_parquet_of_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        data.parquet(tmp_path / "set.parquet")
