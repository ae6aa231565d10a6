"""A training step in Keras on TensorFlow."""

from __future__ import annotations

from functools import partial
from typing import Any

import keras
import tensorflow as tf

from art_nip.zoo.adversarial import worst
from art_nip.zoo.suppression import auxiliary_logits
from art_nip.zoo.training import Images, Labels, Recipe, Step


def seed_weights(seed: int) -> None:
    """Make the next model start from the same weights each time.

    :param seed: whole number from 0 to 2**32 - 1.
    """
    keras.utils.set_random_seed(seed)


def training_step(model: keras.Model, recipe: Recipe, mean: float, std: float) -> Step:
    """Return a function that trains a model by one step, and keeps the state of the optimiser.

    :param model: the model to train.
    :param recipe: how to train.
    :param mean: it is subtracted from the images before the model sees them.
    :param std: the images are divided by it afterwards.
    """
    optimizer = keras.optimizers.AdamW(weight_decay=recipe.weight_decay)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def loss_of(x: Any, labels: Any, training: bool) -> Any:
        with auxiliary_logits(model.layers, labels if training else None) as auxiliary:
            logits = model((x - mean) / std, training=training)
        return cross_entropy(labels, logits) + recipe.auxiliary * sum(
            cross_entropy(labels, hidden) for hidden in auxiliary
        )

    def gradient(x: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = loss_of(x, labels, training=False)
        return tape.gradient(loss, x)

    @tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
    def apply(x: Any, start: Any, labels: Any) -> Any:
        if recipe.adversarial is not None:
            x = worst(
                x, start, partial(gradient, labels=labels), recipe.adversarial, recipe.attack_steps
            )
        with tf.GradientTape() as tape:
            loss = loss_of(x, labels, training=True)
        variables = model.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    optimizer.build(model.trainable_variables)

    def step(images: Images, start: Images, labels: Labels, rate: float) -> Any:
        optimizer.learning_rate.assign(rate)
        return apply(*map(tf.convert_to_tensor, (images, start, labels)))

    return step
