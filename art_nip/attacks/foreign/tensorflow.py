"""What other libraries' attacks need of TensorFlow."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt
import tensorflow as tf


def tensor(model: Any, array: npt.NDArray[Any]) -> Any:
    """Return an array as a tensor."""
    return tf.convert_to_tensor(array)


def foolbox_model(foolbox: Any, model: Any) -> Any:
    """Return Foolbox's model of a Keras model for images in [0, 1]."""
    return foolbox.TensorFlowModel(model, bounds=(0, 1))
