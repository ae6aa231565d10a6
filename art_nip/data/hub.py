"""Image sets of the hub, through the `datasets` library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from art_nip.data.decoding import as_shown, unreadable
from art_nip.data.images import Indices, Part, Pixels
from art_nip.data.labels import class_indices
from art_nip.utils.optional import require


@dataclass(frozen=True)
class Repository:
    """Where an image set is, and what is to be done to its images.

    :param path: of the repository.
    :param config: which of its configurations; None for the only one.
    :param splits: from "train" and "test" to the names that they have there.
    :param size: height and width to bring images to; None leaves them as they are.
    :param fit: "stretch" gives the whole image that size; "crop" does so with its shorter side and
        cuts off the ends of the longer one.
    """

    path: str
    config: str | None = None
    splits: Mapping[str, str] = field(default_factory=lambda: {"train": "train", "test": "test"})
    size: int | None = None
    fit: Literal["stretch", "crop"] = "stretch"


REPOSITORIES = {
    "cifar10": Repository("uoft-cs/cifar10"),
    "gtsrb": Repository("tanganke/gtsrb", size=32),
    "imagenette": Repository(
        "frgfm/imagenette",
        config="320px",
        splits={"train": "train", "test": "validation"},
        size=224,
        fit="crop",
    ),
}


def part(name: str, part: str) -> Part:
    """Return a part of one of `REPOSITORIES`, downloaded on first use.

    :param name: of the data set.
    :param part: "train" or "test".
    :raises ConnectionError: if it cannot be had.
    """
    datasets = require("datasets", to="load images from the hub", install="art-nip[benchmark]")
    repository = REPOSITORIES[name]
    split = repository.splits[part]
    try:
        dataset = datasets.load_dataset(repository.path, repository.config, split=split)
    # Each library on the way, datasets, huggingface_hub and httpx, has its own kinds of errors.
    except Exception as error:
        raise ConnectionError(
            f"{name} could not be loaded from the hub: {error}. Tried the split {split!r} of "
            f"{repository.path!r}. To read local files instead, say where they are: folder=…, on "
            "the command line --data FOLDER."
        ) from error
    return from_dataset(dataset, repository)


def from_dataset(dataset: Any, repository: Repository) -> Part:
    """Return the images of a `datasets.Dataset`, in an order that is drawn once for all.

    :param dataset: with a column of images, of any name, and a column `label` of class indices.
    :param repository: what it is of.
    :raises ValueError: if a column is missing, or a label is no class index.
    """
    features = dataset.features
    columns = [name for name, kind in features.items() if type(kind).__name__ == "Image"]
    if not columns or "label" not in features:
        raise ValueError(
            f"{repository.path} needs a column of images and a column label, and has "
            f"{', '.join(features)}."
        )
    # Some are sorted by class: the first images would be of one class only.
    order = np.random.default_rng(0).permutation(len(dataset))
    names = getattr(features["label"], "names", [])
    labels = class_indices(dataset["label"], repository.path)[order]
    images = dataset.select_columns(columns[:1])

    def pixels_of(row: int) -> Pixels:
        place = f"{repository.path}, row {row}"
        try:
            image = images[row][columns[0]]
        # `datasets` decodes the image here, and passes on whatever Pillow raises.
        except Exception as error:
            raise unreadable(place, error) from error
        if image is None:
            raise ValueError(f"{place}: the image is missing (null).")
        return np.asarray(_fitted(as_shown(image, place).convert("RGB"), repository))

    def read(indices: Indices) -> list[Pixels]:
        return [pixels_of(int(order[i])) for i in indices]

    return Part(repository.path, labels, names, read)


def _fitted(image: Any, repository: Repository) -> Any:
    if repository.size is None:
        return image
    pillow = require("PIL.ImageOps", to="resize images", install="art-nip[benchmark]")
    size = (repository.size, repository.size)
    bilinear = pillow.Image.Resampling.BILINEAR
    if repository.fit == "crop":
        return pillow.fit(image, size, bilinear)
    return image.resize(size, bilinear)
