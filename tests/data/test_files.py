"""Image sets in local files of every form: which is read, files of arrays, folders of images."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from art_nip import data
from tests.data.writers import write_folder, write_npz, write_parquet


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("form", ["parquet", "npz", "folder"])
def test_load_reads_the_same_from_every_form(tmp_path, images, form, channels_first):
    labels = [0, 1, 1, 0, 1]
    if form == "parquet":
        write_parquet(tmp_path / "mine-test.parquet", images, labels)
    elif form == "npz":
        write_npz(tmp_path / "mine-test.npz", images, labels, names=["cat", "dog"])
    else:
        write_folder(tmp_path / "mine-test", images, labels)
    x, y, names = data.load("mine", "test", folder=tmp_path, channels_first=channels_first)
    expected = images.astype(np.float32) / 255
    found = np.moveaxis(x, 1, -1) if channels_first else x
    order = [int(np.flatnonzero((expected == image).all((1, 2, 3)))[0]) for image in found]
    assert sorted(order) == list(range(5))
    assert form == "folder" or order == list(range(5))
    assert y.tolist() == [labels[i] for i in order]
    assert (x.dtype, y.dtype, names) == (np.float32, np.int64, ["cat", "dog"])
    assert x.flags.c_contiguous
    limited = data.load("mine", "test", folder=tmp_path, limit=2, channels_first=channels_first)
    np.testing.assert_array_equal(limited[0], x[:2])
    np.testing.assert_array_equal(limited[1], y[:2])


def test_numbers_as_names_that_are_not_those_of_the_classes_are_told(tmp_path, images):
    write_folder(tmp_path / "mine-test", images[:3], [0, 1, 2], names=["1", "2", "10"])
    with pytest.warns(UserWarning, match=r"folder '10' is class 1.* 02 beside 10") as told:
        _, _, names = data.load("mine", "test", folder=tmp_path)
    assert names == ["1", "10", "2"]
    assert told[0].filename == __file__
    for stem, names in (("same", ["01", "02", "10"]), ("words", ["a1", "a2", "a10"])):
        write_folder(tmp_path / f"{stem}-test", images[:3], [0, 1, 2], names=names)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            data.load(stem, "test", folder=tmp_path)


def test_load_takes_parquet_before_npz_before_a_folder(tmp_path, images):
    write_folder(tmp_path / "mine-test", images, [0] * 5, names=["folder"])
    assert data.load("mine", "test", folder=tmp_path)[2] == ["folder"]
    write_npz(tmp_path / "mine-test.npz", images, [0] * 5, names=["npz"])
    assert data.load("mine", "test", folder=tmp_path)[2] == ["npz"]
    write_parquet(tmp_path / "mine-test.parquet", images, [0] * 5, names=["parquet"])
    assert data.load("mine", "test", folder=tmp_path)[2] == ["parquet"]


def test_load_of_no_file_names_the_three(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        data.load("gtsrb", "test", folder=tmp_path)
    for form in (".parquet", ".npz", "/"):
        assert f"{tmp_path / 'gtsrb-test'}{form}" in str(error.value)


def test_load_of_an_unknown_name_names_the_nearest():
    with pytest.raises(ValueError, match=r"'cifar'. The nearest is 'cifar10'; .*--data FOLDER"):
        data.load("cifar", "test")
    with pytest.raises(ValueError, match="part='valid'; give 'train' or 'test'"):
        data.load("mnist", "valid")


def test_stratified_images_have_the_balance_of_the_whole(tmp_path):
    y = np.repeat([0, 1, 2], [60, 30, 10])
    x = np.broadcast_to(np.arange(100, dtype=np.uint8)[:, None, None], (100, 2, 2))
    write_npz(tmp_path / "mine-train.npz", x, y)

    def drawn(seed, **more):
        images, labels, _ = data.load(
            "mine", "train", folder=tmp_path, stratified=20, seed=seed, **more
        )
        indices = np.round(images[:, 0, 0, 0] * 255).astype(int)
        assert (y[indices] == labels).all()
        return indices.tolist()

    assert np.bincount(y[drawn(0)]).tolist() == [12, 6, 2]
    assert drawn(0) == drawn(0) != drawn(1)
    with pytest.raises(ValueError, match=r"number of classes \(3\), and all together 100"):
        data.load("mine", "train", folder=tmp_path, stratified=101)


def test_stratified_images_of_a_parquet_file_are_those_of_their_rows(tmp_path):
    images = np.zeros((3000, 2, 2, 1), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.arange(3000) // 256, np.arange(3000) % 256
    y = np.arange(3000) % 2
    write_parquet(tmp_path / "mine-train.parquet", images, y, row_group_size=700)
    x, labels, _ = data.load("mine", "train", folder=tmp_path, stratified=300)
    pixels = np.round(x[:, 0, 0] * 255).astype(int)
    rows = pixels[:, 0] * 256 + pixels[:, 1]
    assert len(set(rows)) == 300
    assert (labels == rows % 2).all()
    assert rows.max() > 2500


# Files of arrays


@pytest.mark.parametrize(
    "shape", [(5, 4, 6), (5, 4, 6, 1), (5, 1, 4, 6), (5, 4, 6, 3), (5, 3, 4, 6)]
)
def test_npz_takes_the_usual_orders_of_axes(tmp_path, shape):
    x = np.random.default_rng(0).random(shape)
    write_npz(tmp_path / "mine-test.npz", x, [0, 1, 2, 0, 1])
    found, y, names = data.load("mine", "test", folder=tmp_path, channels_first=False)
    last = x[..., None] if x.ndim == 3 else x if shape[3] in (1, 3) else np.moveaxis(x, 1, -1)
    np.testing.assert_array_equal(found, last.astype(np.float32))
    assert (y.tolist(), names) == ([0, 1, 2, 0, 1], ["0", "1", "2"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 4, 4))}, "needs the arrays x and y, and has x"),
        ({"x": np.zeros((2, 4, 4)), "y": np.zeros(3, int)}, "2 images in x and 3 labels in y"),
        ({"x": np.zeros((2, 4, 4)), "y": np.zeros(2)}, r"row 0: the label is 0\.0 \(float64\)"),
        ({"x": np.zeros((2, 4, 4)), "y": np.array([0, -1])}, "whole numbers from 0 on"),
        ({"x": np.zeros((2, 4, 4, 2)), "y": np.zeros(2, int)}, r"C 1 or 3 .* got \(2, 4, 4, 2\)"),
        ({"x": np.zeros((2, 0, 4)), "y": np.zeros(2, int)}, r"least one pixel; got \(2, 0, 4\)"),
        ({"x": np.full((2, 4, 4), "a"), "y": np.zeros(2, int)}, r"floats from 0 to 1; got <U1\."),
        ({"x": np.full((2, 4, 4), 1j), "y": np.zeros(2, int)}, r"got complex128\."),
        ({"x": np.full((2, 4, 4), 9.0), "y": np.zeros(2, int)}, "got float64 from 9 to 9"),
        ({"x": np.full((2, 4, 4), np.nan), "y": np.zeros(2, int)}, "floats from 0 to 1"),
        ({"x": np.zeros((2, 4, 4), int), "y": np.zeros(2, int)}, "got int64"),
        ({"x": np.zeros((0, 4, 4)), "y": np.zeros(0, int)}, "holds no image"),
    ],
)
def test_npz_of_something_else_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "mine-test.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        data.load("mine", "test", folder=tmp_path)


@pytest.mark.parametrize("content", [b"no arrays", b"PK\x03\x04 and no more"])
def test_npz_that_is_damaged_is_refused(tmp_path, content):
    (tmp_path / "mine-test.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"mine-test.npz is truncated or not a file of np.savez"):
        data.load("mine", "test", folder=tmp_path)


# Folders of images


def test_image_folder_counts_empty_classes_and_skips_what_is_no_image(tmp_path, images):
    folder = tmp_path / "mine-test"
    write_folder(folder, images, [0, 2, 2, 0, 2], names=["b", "c", "d"])
    (folder / ".hidden").mkdir()
    (folder / "b" / "notes.txt").write_text("no image")
    (folder / "readme.txt").write_text("no class")
    with pytest.warns(UserWarning, match="skipped 3 of its entries"):
        _, y, names = data.load("mine", "test", folder=tmp_path)
    assert names == ["b", "c", "d"]
    assert sorted(y) == [0, 0, 2, 2, 2]


def test_the_first_images_of_a_folder_are_of_several_classes(tmp_path):
    images = np.zeros((40, 2, 2, 3), np.uint8)
    write_folder(tmp_path / "mine-test", images, np.repeat([0, 1], 20))
    assert set(data.load("mine", "test", folder=tmp_path, limit=10)[1]) == {0, 1}


def test_image_folder_names_a_file_that_is_no_image(tmp_path):
    (tmp_path / "mine-test" / "cat").mkdir(parents=True)
    (tmp_path / "mine-test" / "cat" / "broken.png").write_bytes(b"no image")
    with pytest.raises(OSError, match=r"broken\.png"):
        data.load("mine", "test", folder=tmp_path)


def test_parts_with_different_classes_are_refused():
    data.check_same_classes(["a", "b"], ["a", "b"])
    data.check_same_classes(["0", "1", "2"], ["0", "1"])
    with pytest.raises(ValueError, match=r"class 1 is 'b' and 'c'.*an empty folder"):
        data.check_same_classes(["a", "b", "c"], ["a", "c"])


@pytest.mark.parametrize("channels_first", [True, False])
@pytest.mark.parametrize("form", ["npz", "folder"])
def test_a_side_shrinks_the_shorter_side_and_crops_the_centre(tmp_path, form, channels_first):
    row = np.repeat(np.uint8([0, 40, 80, 120, 160, 200]), 2)  # six stripes of two pixels
    image = np.broadcast_to(row[None, :, None], (8, 12, 3)) + np.uint8([0, 1, 2])
    if form == "npz":
        write_npz(tmp_path / "mine-test.npz", [image], [0])
    else:
        write_folder(tmp_path / "mine-test", [image], [0])
    x, *_ = data.load("mine", "test", folder=tmp_path, side=4, channels_first=channels_first)
    pixels = np.moveaxis(x[0], 0, -1) if channels_first else x[0]
    assert pixels.shape == (4, 4, 3)
    # The outer stripes are cut off; of the four in between, each is a pixel now.
    centre = 255 * pixels[:, 1:3]
    np.testing.assert_allclose(centre[..., 0], np.broadcast_to([80, 120], (4, 2)), atol=1)
    np.testing.assert_allclose(centre[..., 2] - centre[..., 0], 2, atol=1e-3)
    whole, *_ = data.load("mine", "test", folder=tmp_path, channels_first=channels_first)
    assert sorted(whole.shape) == [1, 3, 8, 12]


def test_a_side_keeps_floats_and_images_that_have_it(tmp_path):
    rng = np.random.default_rng(0)
    write_npz(tmp_path / "mine-test.npz", rng.random((3, 8, 8)), [0, 1, 1])
    same, *_ = data.load("mine", "test", folder=tmp_path, side=8)
    np.testing.assert_array_equal(same, data.load("mine", "test", folder=tmp_path)[0])
    larger, *_ = data.load("mine", "test", folder=tmp_path, side=16)
    assert larger.shape == (3, 1, 16, 16)
    assert len(np.unique(larger)) > 256
    assert larger.min() >= 0
    assert larger.max() <= 1


@pytest.mark.parametrize("side", [0, -1, 2.5, True, "32"])
def test_a_side_that_is_none_is_refused(side):
    with pytest.raises(ValueError, match="side"):
        data.load("mnist", "test", limit=1, side=side)
