"""Images and labels as arrays: from the hub, from local files, or 5,000 digits without a download.

Images are float32 in [0, 1]; labels are int64 class indices.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from art_nip.data import files, hub
from art_nip.data.embedded import mnist, mnist_part
from art_nip.data.images import Images, Part
from art_nip.data.labels import Labels
from art_nip.data.parquet_files import parquet
from art_nip.data.splits import split
from art_nip.utils.validation import check_whole, nearest_name

__all__ = [
    "NAMES",
    "Images",
    "Labels",
    "check_same_classes",
    "load",
    "mnist",
    "parquet",
    "split",
]

NAMES = ("mnist", *hub.REPOSITORIES)
"""The data sets that need no local files."""

PARTS = ("train", "test")


def load(
    name: str,
    part: str,
    *,
    folder: str | Path | None = None,
    limit: int | None = None,
    stratified: int | None = None,
    seed: int = 0,
    channels_first: bool = True,
    side: int | None = None,
) -> tuple[Images, Labels, list[str]]:
    """Return images, labels and label names of one part of a data set.

    Without a folder, "mnist" is 4,000 ("train") and 1,000 ("test") of the digits of :func:`mnist`,
    and the others come through the `datasets` library, which downloads them once:

    - "cifar10": `uoft-cs/cifar10`, 32×32;
    - "gtsrb": `tanganke/gtsrb`, of many sizes there, each resized to 32×32;
    - "imagenette": `frgfm/imagenette` ("320px", its validation split is "test"), the shorter side
      resized to 224 and the centre cropped to 224×224.

    With a folder, the first of these that exists is read, images of the size they have:

    - `{folder}/{name}-{part}.parquet`, see :func:`parquet`;
    - `{folder}/{name}-{part}.npz` with x, shape (N, H, W), (N, H, W, C) or (N, C, H, W), uint8 or
      floats in [0, 1]; y, shape (N,), class indices; and maybe names, the classes' names;
    - `{folder}/{name}-{part}/{class}/*.png` (or .jpg, .jpeg, .bmp, .ppm, .webp); classes are
      numbered by the order of their names.

    The hub's images and those of folders lie sorted by class; here they come in an order that is
    drawn once for all, so that the first ones are a fair sample. Parquet and npz keep their order.

    Images are read as a viewer shows them: 16 bits become 8, palettes looked up, turned as
    their EXIF data says. Those that could be read in several ways, such as transparent ones, are
    refused.

    :param name: one of `NAMES`; with a folder, any.
    :param part: "train" or "test".
    :param folder: the folder of local files; None for none.
    :param limit: the first `limit` images only, or all if there are fewer; None for all.
    :param stratified: draw this many of them, with the class balance of the whole; None for all.
    :param seed: for `stratified`: same seed, same images.
    :param channels_first: whether images are (C, H, W), as PyTorch wants them, or (H, W, C).
    :param side: the shorter side is resized to this many pixels, with bilinear interpolation that
        averages where it shrinks, and the centre cropped to side×side; None leaves the size.
    :return: images, float32 in [0, 1], shape (N, C, H, W) or (N, H, W, C), where C is 1 if every
        one is greyscale and 3 otherwise; labels, int64, shape (N,); label names, or the indices as
        text where there are none.
    :raises FileNotFoundError: if the folder has none of the three; the message names them.
    :raises ConnectionError: if the hub cannot be reached.
    :raises ImportError: if a library to read them is not installed.
    :raises ValueError: if the name or the part is not known, `limit`, `stratified` or `side` is not
        possible, the files are not as above, a label is no class index, or an image can be read in
        several ways; the message says in which file and row.
    :raises OSError: if an image is missing or damaged; the message says in which file and row.
    """
    if part not in PARTS:
        raise ValueError(f"part={part!r}; give 'train' or 'test'.")
    if side is not None:
        check_whole("side", side, 1)
    source = _source(name, part, folder)
    indices = source.first(limit)
    if stratified is not None:
        check_whole("stratified", stratified, 1)
        ((indices, _),) = split(indices, source.labels[indices], [stratified], seed)
    return source.arrays(indices, channels_first, side)


def check_same_classes(train: list[str], test: list[str]) -> None:
    """Raise a ValueError if the label names of two parts contradict each other.

    One may have more classes than the other, behind the common ones.
    """
    differing = np.flatnonzero([a != b for a, b in zip(train, test, strict=False)])
    if len(differing):
        k = differing[0]
        raise ValueError(
            f"The classes of the training and test images differ: class {k} is {train[k]!r} and "
            f"{test[k]!r}. Both parts need the same classes in the same order; in image folders, "
            "give a class without images an empty folder."
        )


def _source(name: str, part: str, folder: str | Path | None) -> Part:
    if folder is not None:
        return files.part(Path(folder), f"{name}-{part}")
    if name == "mnist":
        return mnist_part(part)
    if name in hub.REPOSITORIES:
        return hub.part(name, part)
    near = nearest_name(name, NAMES)
    raise ValueError(
        f"There is no data set {name!r}. The nearest is {near!r}; all: {', '.join(NAMES)}. To read "
        "your own, give its folder: folder=…, on the command line --data FOLDER."
    )
