"""An ART classifier of TensorFlow as a Keras model: defences, mean and std, model."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from art.defences.preprocessor.preprocessor import PreprocessorTensorFlowV2
from art.estimators.classification import KerasClassifier, TensorFlowV2Classifier
from art.preprocessing.standardisation_mean_std.tensorflow import StandardisationMeanStdTensorFlow

from art_nip.estimators.module.steps import check_predicts_as, check_shape, steps_of
from art_nip.utils.ranges import PixelRange

Tensor = Any


class ClassifierModel(keras.Model):  # type: ignore[misc]
    """See `art_nip.as_module`, which makes it. Its `predict` and `fit` run eagerly, as defences do.

    :param classifier: a `TensorFlowV2Classifier` or `KerasClassifier`.
    :param steps: what comes before its model.
    :param unit_images: whether images come in [0, 1].
    """

    def __init__(self, classifier: Any, steps: tuple[Any, ...], unit_images: bool) -> None:
        super().__init__()
        self.model = classifier.model
        self._input_shape = tuple(classifier.input_shape)
        self._clip_values = classifier.clip_values if unit_images else None
        self._steps = steps
        self.run_eagerly = True
        # There is nothing to build, and Keras would do it in a graph.
        self.built = True

    def call(self, images: Tensor, training: bool = False) -> Tensor:
        """Return the model's outputs, shape (N, nb_classes).

        :param images: shape (N, *input_shape).
        :param training: whether the model trains; the defences are as ever.
        :raises RuntimeError: if there are defences, and this is called in a graph.
        :raises TypeError: if the model gives no tensor.
        :raises ValueError: if images have another shape.
        """
        check_shape(tuple(images.shape), self._input_shape)
        if not tf.executing_eagerly() and not all(map(_is_standardisation, self._steps)):
            raise RuntimeError(
                "The model of a defended classifier runs eagerly, as ART's defences do: call it "
                "outside tf.function."
            )
        x = tf.cast(images, tf.float32)
        if self._clip_values is not None:
            x = PixelRange.of(self._clip_values, _float32).pixels(x)
        for step in self._steps:
            x = _applied(step, x)
        outputs = self.model(x, training=training)
        if not tf.is_tensor(outputs):
            raise TypeError(
                f"The model gives a {type(outputs).__name__}, and ART's predict needs one tensor: "
                "make a model that returns its logits alone."
            )
        return outputs

    def get_config(self) -> Any:
        """Refuse: defences cannot be written into a file of Keras."""
        raise NotImplementedError(
            "The model of an ART classifier cannot be saved or cloned by Keras: save the "
            "classifier's model and its defences, and call as_module again."
        )


def module_of(classifier: Any, straight_through: bool, unit_images: bool) -> ClassifierModel:
    """Return the model of a classifier; parameters and errors as of `art_nip.as_module`."""
    check_predicts_as(classifier, TensorFlowV2Classifier, KerasClassifier)
    kinds = (PreprocessorTensorFlowV2, StandardisationMeanStdTensorFlow)
    return ClassifierModel(classifier, steps_of(classifier, *kinds, straight_through), unit_images)


def _applied(step: Any, x: Tensor) -> Tensor:
    if isinstance(step, PreprocessorTensorFlowV2):
        return step.forward(x)[0]
    return _straight_through(step)(x)


def _straight_through(defence: Any) -> Any:
    """Return a defence for NumPy as a function of tensors, with ART's estimate of its gradient."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def function(x: Tensor) -> Any:
        images = x.numpy()

        def backward(gradient: Tensor) -> Tensor:
            return _float32(defence.estimate_gradient(images, gradient.numpy()))

        return _float32(defence(images)[0]), backward

    return function


def _is_standardisation(step: Any) -> bool:
    return isinstance(step, StandardisationMeanStdTensorFlow)


def _float32(array: Any) -> Tensor:
    return tf.convert_to_tensor(np.asarray(array, np.float32))
