"""Keras models as ART classifiers."""

from __future__ import annotations

from typing import Any

import keras
from art.estimators.classification import TensorFlowV2Classifier


def classifier(
    model: keras.Model, input_shape: tuple[int, ...], nb_classes: int, **keywords: Any
) -> Any:
    """Return an ART classifier of a model of logits.

    :param model: a model on TensorFlow.
    :param input_shape: shape of one image, (H, W, C).
    :param nb_classes: number of logits.
    :param keywords: keywords of ART's class.
    """
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    return TensorFlowV2Classifier(model, nb_classes, input_shape, loss_object=loss, **keywords)
