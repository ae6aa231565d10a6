"""Arrays in the memory of the model's device if they fit there, and rows fetched from them."""

import math
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

Tensor = Any

WORD = np.dtype(np.float32)
"""How bytes are held on a GPU, four at a time: TensorFlow fetches no rows of bytes there."""


def held(array: npt.NDArray[Any]) -> Tensor:
    """Return an array on a GPU if there is one and it fits, else as it is.

    It fits if half of what is free is enough.
    """
    # TensorFlow would copy an array that lies in the host's memory already, and does not tell
    # how much memory a GPU has left: it is tried, once, as it waits long for what is not there.
    if on_gpu():
        with suppress(tf.errors.ResourceExhaustedError):
            tf.zeros([2 * array.nbytes // WORD.itemsize + 1], WORD)
            return tf.convert_to_tensor(array)
    return array


def rows(
    array: npt.NDArray[Any], hold: Callable[[npt.NDArray[Any]], Tensor]
) -> Callable[[Tensor], Tensor]:
    """Return the function from indices to these rows of an array.

    :param hold: brings an array to a GPU if there is one and it fits.
    """
    # What is no whole number of words is copied for that, which nothing but a GPU needs.
    whole = array[:1].nbytes % WORD.itemsize == 0
    of_bytes = array.dtype == np.uint8 and (whole or on_gpu())
    there = hold(in_words(array) if of_bytes else array)
    if not tf.is_tensor(there):
        return lambda indices: tf.convert_to_tensor(array[indices.numpy()])
    if of_bytes:
        return lambda indices: of_words(tf.gather(there, indices), array.shape[1:])
    return lambda indices: tf.gather(there, indices)


def on_gpu() -> bool:
    """Return whether TensorFlow computes on a GPU."""
    return bool(tf.config.list_logical_devices("GPU"))


def in_words(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return rows of bytes as rows of words, with zeros behind the last byte.

    :param array: shape (M, …).
    :return: shape (M, words); their values mean nothing.
    """
    flat = array.reshape(len(array), math.prod(array.shape[1:]))
    spare = -flat.shape[1] % WORD.itemsize
    whole = np.pad(flat, ((0, 0), (0, spare))) if spare else flat
    return np.ascontiguousarray(whole).view(WORD)


def of_words(words: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return rows of bytes from rows of words.

    :param words: shape (N, words), as `in_words` made them.
    :param shape: shape of a row of bytes.
    :return: uint8, shape (N, *shape).
    """
    flat = tf.reshape(tf.bitcast(words, tf.uint8), [-1, words.shape[1] * WORD.itemsize])
    return tf.reshape(flat[:, : math.prod(shape)], [-1, *shape])
