"""Image sets of the hub.

No hub can be reached from a test: `datasets` itself reads repositories of the same layout here.
"""

from __future__ import annotations

import os
import subprocess
import sys

import datasets
import numpy as np
import pytest
from PIL import Image

from art_nip import data
from art_nip.data import hub
from tests.data.writers import encode


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
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
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
