"""Models of Keras by where they come from: their outputs, some of their logits, their files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from art_nip.zoo.origins.base import NoLogitsError


def outputs(model: keras.Model, x: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Return what a model gives for images, in evaluation mode.

    :raises NoLogitsError: if it is not one tensor.
    """
    result = model(x, training=False)
    if not keras.ops.is_tensor(result):
        raise NoLogitsError(f"a {type(result).__name__}")
    array: npt.NDArray[Any] = keras.ops.convert_to_numpy(result)
    return array


def selected(
    model: keras.Model, input_shape: tuple[int, ...], classes: Sequence[int]
) -> keras.Model:
    """Return a model that gives some of the logits only."""
    images = keras.Input(input_shape)
    return keras.Model(images, keras.ops.take(model(images), list(classes), axis=-1))


def load_weights(model: keras.Model, path: Path, entry: str | None = None) -> None:
    """Set the weights of a model from a file that Keras wrote.

    :param model: a model that has its weights already, if random ones.
    :param path: a file of `save_weights` or `save`.
    :param entry: there are no entries in such a file.
    :raises ValueError: if the file is damaged, or of another model.
    """
    if entry is not None:
        raise ValueError(f"entry={entry!r}; a file of Keras has no entries: leave it out.")
    if not model.built:
        raise ValueError("The factory's model is not built: call model.build((None, H, W, C)).")
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise ValueError(f"{path} holds no weights of this model: {error}") from error
