"""Models of keras.applications."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import FunctionType
from typing import Any, ClassVar

import numpy as np

from art_nip.zoo.origins.base import DEFAULT, FromLibrary, Made, library, made_by
from art_nip.zoo.origins.given import check_name


@dataclass(frozen=True)
class KerasApplication(FromLibrary):
    """A model of `keras.applications`, on TensorFlow, with logits and not probabilities.

    How images are standardised is what the model's own `preprocess_input` does: it is given images,
    and what comes out says the mean, the std and the order of channels. Images are in RGB here,
    and those of models that take BGR are turned around in the model.
    """

    key: ClassVar[str] = "keras"

    def _made(self) -> Made:
        keras = library("keras", "art-nip[tensorflow]")
        if keras.config.backend() != "tensorflow":
            raise RuntimeError(
                f"Keras runs on {keras.config.backend()!r}, and ART's classifiers of Keras models "
                "need TensorFlow: set KERAS_BACKEND=tensorflow before Keras is imported."
            )
        check_name("model of keras", self.name, _functions(keras.applications))
        function = getattr(keras.applications, self.name)
        weights = self._weights()
        with made_by(self, random=weights is None):
            model = function(weights=weights, **self._settings())
            order, mean, std = _preprocessing(function)
        shape = model.input_shape[1:]
        if order != sorted(order):
            images = keras.Input(shape)
            model = keras.Model(images, model(keras.ops.take(images, order, axis=-1)))
        if not self.arguments.get("include_preprocessing", True):
            return Made(model, shape)
        return Made(model, shape, mean, std)

    def _weights(self) -> str | None:
        if self.weights is None:
            return None
        return "imagenet" if self.weights == DEFAULT else self._file()

    def _settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"classifier_activation": None, **self.arguments}
        if self.input_shape is not None:
            settings["input_shape"] = self.input_shape
        if self.nb_classes is not None:
            settings["classes"] = self.nb_classes
        return settings


def _functions(applications: Any) -> list[str]:
    """Return the names of the functions that make models."""
    members = vars(applications).items()
    return [
        name for name, value in members if isinstance(value, FunctionType) and name[0].isupper()
    ]


def _preprocessing(function: Any) -> tuple[list[int], list[float], list[float]]:
    """Return the order of channels, and mean and std of these for RGB images in [0, 1].

    A model's channel c is a · 255 · x[order[c]] + b of an image x. Mean and std are those of x.
    """
    preprocess = sys.modules[function.__module__].preprocess_input
    # Black, then full red, green and blue.
    pixels = np.vstack([np.zeros(3), 255 * np.eye(3)]).astype(np.float32).reshape(4, 1, 1, 3)
    black, *full = np.asarray(preprocess(pixels.copy(), data_format="channels_last"), np.float64)
    gains = np.stack([colour - black for colour in full]).reshape(3, 3)
    order = np.abs(gains).argmax(axis=0)
    scale, offset = gains[order, range(3)], black.reshape(3)
    mean, std = np.empty(3), np.empty(3)
    mean[order], std[order] = -offset / scale, 1 / scale
    return order.tolist(), mean.tolist(), std.tolist()
