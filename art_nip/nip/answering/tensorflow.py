"""A classifier of TensorFlow, or of Keras on it, that gives NIP's answers."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf
from art.estimators.classification import KerasClassifier

from art_nip.estimators import clones
from art_nip.utils.surrogates import SurrogateLoss

Tensor = Any


class AnsweringModel(keras.Model):  # type: ignore[misc]
    """The model and its evidence as one model, which offers surrogate losses to attacks.

    :param nip: a fitted NIP whose retrieval answers.
    """

    def __init__(self, nip: Any) -> None:
        super().__init__()
        self.model = nip._adapter.model
        self._nip = nip
        self.built = True
        # ART calls models in graphs; what is kept between calls must not come from one.
        nip.answers(tf.zeros((1, *nip._adapter.input_shape)))

    def call(self, x: Tensor, training: bool = False, **others: Any) -> Tensor:
        """Return scores, shape (N, nb_classes).

        :param x: images in the range that NIP takes, shape (N, *input_shape).
        :param training: anything: the model is as in predictions.
        :param others: anything: ART's `KerasClassifier` calls models with more.
        """
        with tf.init_scope():
            reader = self._nip._answering()
        return reader.answers(tf.cast(x, tf.float32))

    def surrogate_losses(self, *arguments: Any) -> list[SurrogateLoss]:
        """Return those of NIP; see :class:`art_nip.utils.surrogates.OffersSurrogateLosses`."""
        return self._nip.surrogate_losses(*arguments)  # type: ignore[no-any-return]

    def get_config(self) -> Any:
        """Refuse: the fit cannot be written into a file of Keras."""
        raise NotImplementedError(
            "A model with NIP's evidence cannot be saved or cloned by Keras: save the "
            "NIPPreprocessor and the model, and attach it anew."
        )


def answering(nip: Any, estimator: Any) -> Any:
    """Return the classifier; see `art_nip.nip.answering.answering`."""
    model = AnsweringModel(nip)
    other = clones.clone(estimator)
    other.set_params(preprocessing=None)
    if isinstance(estimator, KerasClassifier):
        model.compile(loss=estimator.model.loss)
    other._model = model
    return other
