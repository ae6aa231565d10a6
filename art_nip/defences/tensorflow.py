"""Defences on TensorFlow tensors. TensorFlow is imported when the first of them is used."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy.typing as npt
from art.defences.preprocessor.preprocessor import PreprocessorTensorFlowV2

from art_nip.defences.base import ImageDefence
from art_nip.utils.arrays import Array


class TensorFlowDefence(ImageDefence, PreprocessorTensorFlowV2):  # type: ignore[misc]
    """A defence on TensorFlow tensors."""

    def _undisturbed(self, x: Array | None = None) -> AbstractContextManager[Any]:
        from art_nip.utils.tensorflow import check_eager

        check_eager(type(self).__name__)
        return super()._undisturbed(x)

    def _tensor(self, values: npt.NDArray[Any], like: Array | None = None) -> Array:
        import tensorflow as tf

        # Outside of a graph that may be being traced: constants are used again.
        with tf.init_scope():
            return tf.convert_to_tensor(values)

    def _constant(self, x: Array) -> Array:
        import tensorflow as tf

        return tf.stop_gradient(x)

    def _is_floating(self, x: Array) -> bool:
        return bool(x.dtype.is_floating)
