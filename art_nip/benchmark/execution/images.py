"""The images of a benchmark: arrays in memory as they are, all else in a file that is mapped.

Everything else slices arrays, and reads of a mapped one no more than it needs.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.data.batches import batches_of, can_be_sliced, is_stream
from art_nip.data.wanted import Wanted
from art_nip.defences.checks import channels_first
from art_nip.utils.arrays import to_numpy
from art_nip.utils.frameworks import Framework, framework_of
from art_nip.utils.validation import check_images, class_indices, numeric

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

IMAGES_AT_ONCE = 128
"""The number of images that are read into the file at once."""


def evaluated(x: Any, y: Any, classifier: Any, folder: Path) -> tuple[Images, Labels]:
    """Return images and their class indices.

    :param x: images, an array, or what brings them in batches; see
        :func:`art_nip.data.batches.batches_of`.
    :param y: their classes, if they are in an array.
    :param classifier: an ART classifier, whose images they must be.
    :param folder: where the file of images is that are not in memory.
    :raises TypeError: if x is nothing of this.
    :raises ValueError: if images or labels are not as they must be, or are missing.
    """
    shape = tuple(classifier.input_shape)
    streamed = is_stream(x, shape)
    if y is None and not streamed:
        raise ValueError("There are no labels, y=None: a benchmark needs the images' true classes.")
    if streamed or _is_outside_memory(x):
        images, labels = _in_file(x, y, classifier, folder)
    else:
        images = numeric(to_numpy(x))
        check_images(images, shape, classifier.clip_values)
        labels = class_indices(to_numpy(y), len(images), classifier.nb_classes)
    if not len(images):
        raise ValueError("There is no image to evaluate on.")
    return images, labels


def known(bank: Any, classifier: Any, folder: Path) -> tuple[Images, Labels]:
    """Return the images of a bank and their class indices.

    :param bank: a pair of arrays, or what brings both in batches.
    :param classifier: see :func:`evaluated`.
    :param folder: see :func:`evaluated`.
    :raises TypeError: if it is neither.
    """
    streamed = is_stream(bank, tuple(classifier.input_shape))
    if isinstance(bank, (tuple, list)) and len(bank) == 2:
        of_batches = streamed and isinstance(bank[0], (tuple, list, Mapping))
        if not of_batches:
            return evaluated(bank[0], bank[1], classifier, folder)
    if not streamed:
        raise TypeError(
            f"The bank is one {type(bank).__name__}; give a pair of images and their classes, "
            "run(x, y, bank=(bank_x, bank_y)), or what brings both in batches."
        )
    return evaluated(bank, None, classifier, folder)


def shared(x: Images, others: Images) -> int:
    """Return how many images are among others too."""
    digests = {_digest(image) for image in others}
    return sum(_digest(image) in digests for image in x)


def writable(images: Images) -> Images:
    """Return a copy of images that may be written to; of a whole mapped file, another mapping."""
    file = images.base
    if isinstance(file, np.memmap) and file.filename and file.shape == images.shape:
        return _mapped(Path(file.filename), images.shape)
    copied: Images = images.copy()
    return copied


def _is_outside_memory(x: Any) -> bool:
    """Return whether something is sliced as an array, but lies in a file or elsewhere."""
    in_memory = type(x) is np.ndarray or framework_of(x) not in (None, Framework.NUMPY)
    return can_be_sliced(x) and not in_memory


def _in_file(x: Any, y: Any, classifier: Any, folder: Path) -> tuple[Images, Labels]:
    shape = tuple(classifier.input_shape)
    wanted = Wanted(
        shape, classifier.clip_values, classifier.nb_classes, channels_first(classifier)
    )
    labels: list[Labels] = [np.empty(0, np.int64)]
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
        for images, of_images in batches_of(x, y, wanted, IMAGES_AT_ONCE):
            if of_images is None:
                raise ValueError(
                    f"The batches of the {type(x).__name__} have no labels: a benchmark needs the "
                    "images' true classes."
                )
            file.write(np.ascontiguousarray(images, np.float32).data)
            labels.append(of_images)
    classes = np.concatenate(labels)
    if not len(classes):
        return np.empty((0, *shape), np.float32), classes
    return _mapped(Path(file.name), (len(classes), *shape)), classes


def _mapped(path: Path, shape: tuple[int, ...]) -> Images:
    # Copy-on-write, because PyTorch needs writable arrays.
    images: Images = np.asarray(np.memmap(path, np.float32, "c", shape=shape))
    return images


def _digest(image: Images) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
