"""TensorFlow's part of the tools: its array namespace, its state of randomness, and its GPUs.

TensorFlow follows no array standard: these are the few functions that this package uses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy.typing as npt
import tensorflow as tf


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Set TensorFlow's state of randomness, which cannot be read and so is not given back.

    :param seed: whole number from 0 to 2**32 - 1.
    """
    tf.random.set_seed(seed)
    yield


def hardware() -> list[str]:
    """Return the GPUs that TensorFlow sees, and the settings that results depend on; or nothing."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return []
    details = map(tf.config.experimental.get_device_details, gpus)
    names = [known.get("device_name", gpu.name) for known, gpu in zip(details, gpus, strict=True)]
    build = tf.sysconfig.get_build_info()
    versions = [
        f"{label} {build[key]}"
        for label, key in (("CUDA", "cuda_version"), ("cuDNN", "cudnn_version"))
        if key in build
    ]
    setting = "on" if tf.config.experimental.tensor_float_32_execution_enabled() else "off"
    return [*names, *versions, f"TF32 {setting} in TensorFlow"]


def numerics() -> dict[str, Any]:
    """Return the settings of this process on which the digits of results depend, by name."""
    return {"TF32": tf.config.experimental.tensor_float_32_execution_enabled()}


def set_numerics(settings: Mapping[str, Any]) -> None:
    """Take over the settings of another process.

    :param settings: what `numerics` returned there.
    """
    tf.config.experimental.enable_tensor_float_32_execution(settings["TF32"])


def check_eager(what: str) -> None:
    """Raise a RuntimeError within a graph that is being traced.

    :param what: what cannot be in one: it decides in Python by the values of tensors.
    """
    if not tf.executing_eagerly():
        raise RuntimeError(
            f"{what} runs eagerly, as ART's defences do: call it outside tf.function, and in Keras "
            "compile the model with run_eagerly=True."
        )


@cache
def namespace() -> Any:
    """Return functions of TensorFlow, spelled as in the Python array API standard."""
    return SimpleNamespace(
        abs=tf.abs,
        all=lambda x, *, axis=None: tf.reduce_all(x, axis),
        argmax=lambda x, *, axis: tf.argmax(x, axis),
        argsort=_argsort,
        astype=tf.cast,
        clip=tf.clip_by_value,
        concat=lambda arrays, *, axis=0: tf.concat(arrays, axis),
        conj=tf.math.conj,
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
        int64=tf.int64,
        linalg=SimpleNamespace(
            vector_norm=lambda x, *, axis, keepdims=False, ord=2: tf.norm(x, ord, axis, keepdims)
        ),
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
        # Not int32, which GPUs compute with on the host.
        searchsorted=lambda x, values: tf.searchsorted(x, values, out_type=tf.int64),
        sign=tf.sign,
        sin=tf.sin,
        sqrt=tf.sqrt,
        sum=lambda x, *, axis=None, dtype=None, keepdims=False: tf.reduce_sum(
            x if dtype is None else tf.cast(x, dtype), axis, keepdims
        ),
        take=lambda x, indices, *, axis: tf.gather(x, indices, axis=axis),
        uint8=tf.uint8,
        where=tf.where,
        zeros_like=tf.zeros_like,
    )


def _argsort(x: Any, *, axis: int, descending: bool = False, stable: bool = True) -> Any:
    order = tf.argsort(x, axis, "DESCENDING" if descending else "ASCENDING", stable)
    # Not int32, which GPUs compare on the host.
    return tf.cast(order, tf.int64)


def to_numpy(tensor: tf.Tensor | tf.Variable) -> npt.NDArray[Any]:
    """Return a tensor or a variable as a NumPy array; bfloat16 becomes float32."""
    if tensor.dtype == tf.bfloat16:
        tensor = tf.cast(tensor, tf.float32)
    array: npt.NDArray[Any] = tensor.numpy()
    return array
