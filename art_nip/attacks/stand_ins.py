"""Classifiers that stand in for others under attack, and the surrogate losses that they give."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.attacks.gradient_estimators import averaged
from art_nip.attacks.parameters import UnsuitableClassifierError
from art_nip.estimators.clones import clone
from art_nip.utils.surrogates import Classes, Floats, SurrogateLoss
from art_nip.utils.validation import class_indices


def loss_of(
    stand_in: Any, x: npt.ArrayLike, targets: Classes, draws: int = 1, batch_size: int = 128
) -> SurrogateLoss:
    """Return the surrogate loss of a classifier that stands in for another, or for a part of it.

    It is the classifier's own loss, of the targets.

    :param stand_in: an ART classifier that gives loss gradients.
    :param x: images in its range, shape (N, *input_shape).
    :param targets: the class to lead each image to, shape (N,).
    :param draws: over how many draws gradients are averaged where they are random.
    :param batch_size: how many images it sees at once.
    :raises ValueError: if it gives no loss gradients.
    """
    if not hasattr(stand_in, "loss_gradient"):
        raise UnsuitableClassifierError(
            f"A surrogate loss is asked of a {type(stand_in).__name__}, which gives no loss "
            "gradients. Attack it without gradients, by hopskipjump or noise, or wrap its "
            "model in an ART classifier of PyTorch or TensorFlow."
        )
    images = np.asarray(x, np.float32)
    classes = class_indices(targets, len(images), stand_in.nb_classes)
    labels = np.eye(stand_in.nb_classes, dtype=np.float32)[classes]
    led_by = averaged(stand_in, draws) if draws > 1 else stand_in

    def scores() -> Floats:
        return np.asarray(stand_in.predict(images, batch_size=batch_size), np.float32)

    def gradient() -> Floats:
        batches = [slice(k, k + batch_size) for k in range(0, len(images), batch_size)]
        found = [np.asarray(led_by.loss_gradient(images[k], labels[k])) for k in batches]
        return -np.concatenate(found).astype(np.float32)

    return SurrogateLoss(scores, gradient)


def standing_in(classifier: Any, defence: Any, stand_in: Any) -> Any:
    """Return a clone of a classifier that has a stand-in for one of its preprocessing defences.

    :param classifier: an ART classifier; it stays as it is.
    :param defence: the defence to be replaced.
    :param stand_in: what takes its place; None leaves it out.
    """
    given = classifier.preprocessing_defences or []
    defences = [stand_in if each is defence else each for each in given]
    other = clone(classifier)
    other.set_params(preprocessing_defences=[each for each in defences if each is not None])
    return other
