"""What attacks need of TensorFlow: the identity on the way back through a defence, constants,
logits of probabilities, and a small classifier to try parameters on.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
from art.defences.preprocessor.preprocessor import PreprocessorTensorFlowV2
from art.estimators.classification import TensorFlowV2Classifier

from art_nip.estimators.tensorflow.scores import logits_of


class StraightThrough(PreprocessorTensorFlowV2):  # type: ignore[misc]
    """A defence whose gradient is that of the identity.

    :param defence: a defence of TensorFlow.
    """

    def __init__(self, defence: Any) -> None:
        super().__init__(
            is_fitted=True, apply_fit=defence.apply_fit, apply_predict=defence.apply_predict
        )
        self._defence = defence

    def forward(self, x: Any, y: Any = None) -> tuple[Any, Any]:
        """Return the defended images, of which x counts as the only part that changes with x."""
        fixed = tf.stop_gradient(x)
        defended, y = self._defence.forward(fixed, y)
        return tf.stop_gradient(defended) + (x - fixed), y


def is_defence(defence: Any) -> bool:
    """Return whether a preprocessor is one of TensorFlow."""
    return isinstance(defence, PreprocessorTensorFlowV2)


def constant_beside(tensor: Any, value: npt.ArrayLike) -> Any:
    """Return a number or an array as a tensor of the kind of another."""
    return tf.constant(value, tensor.dtype)


def giving_logits(estimator: Any) -> Any:
    """Return a classifier that gives logits, of one that gives probabilities, with its defences."""
    return TensorFlowV2Classifier(
        lambda *images, **keywords: logits_of(estimator.model(*images, **keywords)),
        estimator.nb_classes,
        estimator.input_shape,
        loss_object=keras.losses.CategoricalCrossentropy(from_logits=True),
        channels_first=estimator.channels_first,
        clip_values=estimator.clip_values,
        preprocessing_defences=estimator.preprocessing_defences,
        postprocessing_defences=estimator.postprocessing_defences,
        preprocessing=estimator.preprocessing,
    )


def small_classifier() -> Any:
    """Return a classifier of four classes of images of 4×4, which draws no random numbers."""
    model = keras.Sequential(
        [
            keras.Input((4, 4, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(4, kernel_initializer="zeros"),
        ]
    )
    model.set_weights([(np.arange(64.0) % 7 - 3).reshape(16, 4), np.arange(4.0)])
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    return TensorFlowV2Classifier(model, 4, (4, 4, 1), loss_object=loss, clip_values=(0, 1))
