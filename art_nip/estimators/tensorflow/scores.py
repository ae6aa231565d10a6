"""Scores of classes, from what a model gives: logits, leads, and how y_c of [1] hangs on them."""

from typing import Any

import tensorflow as tf

from art_nip.estimators.base import SMALLEST, SMALLEST_FACTOR_IN_HALF

Tensor = Any


def logits_of(probabilities: Tensor) -> Tensor:
    """Return logarithms, with a gradient that is finite.

    :param probabilities: float32, shape (N, nb_classes).
    """
    given = tf.stop_gradient(probabilities)
    # The logarithm, and of its gradient what float16 can hold; ∂ log y = ∂y / y.
    factor = tf.maximum(given, _least_factor(given)[:, None])
    return tf.math.log(tf.maximum(given, SMALLEST)) + (probabilities - given) / factor


def lead(logits: Tensor, classes: Tensor, nb_classes: int) -> Tensor:
    """Return by how much a class leads the best of the others, z_c − max over k ≠ c of z_k.

    :param logits: z, shape (N, nb_classes).
    :param classes: c of each image, int64, shape (N,).
    :param nb_classes: number of classes, which a graph may not know.
    """
    is_class = tf.one_hot(classes, nb_classes, on_value=True, off_value=False)
    others = tf.reduce_max(tf.where(is_class, logits.dtype.min, logits), axis=1)
    return tf.gather(logits, classes, batch_dims=1) - others


def score_gradient(
    outputs: Tensor, nb_classes: int, are_probabilities: bool, is_output: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradient of a score to outputs, and the factor from it to that of y_c [1].

    The score has gradients about 1, that low precision does not lose: where the model is sure,
    y_c changes by less than float16 can tell from nothing.

    :param outputs: what the model gives, float32, shape (N, nb_classes).
    :param nb_classes: number of classes, which a graph may not know.
    :param are_probabilities: whether these are probabilities, else logits.
    :param is_output: whether y_c is one of the outputs, else it is the softmax of logits.
    :return: shapes (N, nb_classes) and (N,).
    """
    predicted = tf.argmax(outputs, axis=1)
    is_top = tf.one_hot(predicted, nb_classes, on_value=True, off_value=False)
    if is_output and not are_probabilities:
        return tf.cast(is_top, outputs.dtype), tf.ones_like(outputs[:, 0])
    y = outputs if are_probabilities else tf.nn.softmax(outputs)
    rest = tf.reduce_sum(tf.where(is_top, 0.0, y), axis=1)
    factor = tf.reduce_max(y, axis=1) * rest
    if are_probabilities:
        # ∂y_c = -∂rest, as they sum to 1; 1 - y_c would be lost where y_c is rounded to 1.
        factor = tf.maximum(factor, _least_factor(outputs))
        factor = tf.where(rest > SMALLEST, factor, tf.ones_like(rest))
        return tf.where(is_top, 0.0, -1 / factor[:, None]), factor
    # y = sigmoid(lead), so ∂y = y (1 - y) ∂lead, and the lead is over the logsumexp of others.
    others = tf.nn.softmax(tf.where(is_top, outputs.dtype.min, outputs))
    return tf.where(is_top, 1.0, -others), factor


def _least_factor(outputs: Tensor) -> Tensor:
    """Return by what gradients to probabilities may be divided at least, for each image."""
    rounded = tf.cast(tf.cast(outputs, tf.float16), tf.float32)
    in_half = tf.reduce_all(outputs == rounded, axis=1)
    return tf.where(in_half, SMALLEST_FACTOR_IN_HALF, SMALLEST)
