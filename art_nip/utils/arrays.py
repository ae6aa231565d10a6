"""One array namespace for NumPy, PyTorch and TensorFlow, so that the paper's maths is written once.

NumPy and PyTorch come through array-api-compat; TensorFlow, which follows no array standard,
through the few functions that this package uses. No framework is imported unless the caller already
has.
"""

import sys
from functools import cache
from types import SimpleNamespace
from typing import Any

import array_api_compat

Array = Any
"""A NumPy array, a PyTorch tensor or a TensorFlow tensor."""


def namespace(array: Array) -> Any:
    """Return the array namespace of an array, spelled as in the Python array API standard.

    :param array: a NumPy array, a PyTorch tensor or an eager or symbolic TensorFlow tensor.
    """
    tf = sys.modules.get("tensorflow")
    if tf is not None and isinstance(array, tf.Tensor):
        return _tensorflow()
    return array_api_compat.array_namespace(array)


@cache
def _tensorflow() -> Any:
    import tensorflow as tf

    return SimpleNamespace(
        abs=tf.abs,
        argmax=lambda x, *, axis: tf.argmax(x, axis),
        astype=tf.cast,
        clip=tf.clip_by_value,
        concat=lambda arrays, *, axis=0: tf.concat(arrays, axis),
        conj=tf.math.conj,
        cumulative_sum=lambda x, *, axis, dtype: tf.cumsum(tf.cast(x, dtype), axis),
        exp=tf.exp,
        # Of the last two axes, whichever are named: those of images with channels first.
        fft=SimpleNamespace(
            irfftn=lambda x, *, s, axes: tf.signal.irfft2d(x, s),
            rfftn=lambda x, *, s=None, axes: tf.signal.rfft2d(x, s),
        ),
        float16=tf.float16,
        float32=tf.float32,
        float64=tf.float64,
        int32=tf.int32,
        log=tf.math.log,
        matmul=tf.matmul,
        max=lambda x, *, axis=None, keepdims=False: tf.reduce_max(x, axis, keepdims),
        maximum=tf.maximum,
        mean=lambda x, *, axis, keepdims=False: tf.reduce_mean(x, axis, keepdims),
        min=lambda x, *, axis=None, keepdims=False: tf.reduce_min(x, axis, keepdims),
        minimum=tf.minimum,
        permute_dims=tf.transpose,
        reshape=tf.reshape,
        round=tf.round,
        searchsorted=tf.searchsorted,
        sign=tf.sign,
        sort=lambda x, *, axis: tf.sort(x, axis),
        sqrt=tf.sqrt,
        sum=lambda x, *, axis=None, dtype=None, keepdims=False: tf.reduce_sum(
            x if dtype is None else tf.cast(x, dtype), axis, keepdims
        ),
        take=lambda x, indices, *, axis: tf.gather(x, indices, axis=axis),
        uint8=tf.uint8,
        where=tf.where,
        zeros_like=tf.zeros_like,
    )
