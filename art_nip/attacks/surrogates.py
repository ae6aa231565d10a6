"""The surrogate losses of a defended classifier, and who offers them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.attacks.art_defences import OfART, is_known
from art_nip.attacks.gradient_estimators import with_auxiliary
from art_nip.attacks.stand_ins import loss_of
from art_nip.estimators.clones import clone, clone_with
from art_nip.utils.arrays import to_numpy
from art_nip.utils.surrogates import Classes, Floats, OffersSurrogateLosses, SurrogateLoss
from art_nip.zoo.suppression import suppressing_layers

TO_RETURN = "return a SurrogateLoss for each part of the defence that an attack must lead"

AUXILIARY_WEIGHT = 2.0
"""Weight of the auxiliary loss; the loss itself has 1, as in training."""


class _Suppressing:
    """What a model with channel-wise activation suppressing offers: it chooses channels, and so its
    loss has no gradient that tells how to change the choice.
    """

    def surrogate_losses(
        self, x: npt.ArrayLike, y: Classes, targets: Classes, classifier: Any
    ) -> Sequence[SurrogateLoss]:
        """Return the loss with the auxiliary one (Bai et al. 2021), and without."""
        both = with_auxiliary(classifier, AUXILIARY_WEIGHT)
        return [loss_of(stand_in, x, targets) for stand_in in (both, classifier)]


class _Led:
    """What makes a class of ART classifiers one that offers the loss of a stand-in."""

    def surrogate_losses(
        self, x: npt.ArrayLike, y: Classes, targets: Classes, classifier: Any
    ) -> Sequence[SurrogateLoss]:
        """Return the loss of the stand-in."""
        state: Any = self
        return [loss_of(state._stand_in, x, targets)]


def led_by(classifier: Any, stand_in: Any) -> Any:
    """Return a clone of a classifier that offers the loss of another one, and no other.

    An attack by surrogate losses then has gradients of the stand-in, and answers of the classifier.

    :param classifier: an ART classifier; it stays as it is.
    :param stand_in: an ART classifier of the same images that gives loss gradients, such as the
        one without a defence.
    """
    other = clone(clone_with(_Led, classifier))
    other._stand_in = stand_in
    return other


def offers(classifier: Any) -> list[OffersSurrogateLosses]:
    """Return what in an ART classifier offers surrogate losses.

    That may be its preprocessing defences, itself, and its model.
    """
    if isinstance(classifier, _Led):
        return [classifier]
    model = getattr(classifier, "model", None)
    parts: list[Any] = [*(classifier.preprocessing_defences or []), classifier, model]
    parts = [OfART(part) if is_known(part) else part for part in parts]
    found = [part for part in parts if isinstance(part, OffersSurrogateLosses)]
    return [*found, _Suppressing()] if suppressing_layers(model) else found


def surrogate_losses(
    classifier: Any, x: npt.NDArray[np.float32], y: Classes, targets: Classes
) -> list[SurrogateLoss]:
    """Return the surrogate losses of all that offers any.

    :param classifier: an ART classifier with all its defences.
    :param x: images in its range, shape (N, *input_shape).
    :param y: their true classes, shape (N,).
    :param targets: the class to lead each image to, shape (N,).
    :return: their arrays are float32, also where tensors were offered.
    :raises TypeError: if something else was offered.
    :raises ValueError: if there is none after all, or, from the functions of a loss, if an array
        has another shape than it must have.
    """
    parts = offers(classifier)
    losses = [
        _checked(loss, type(part).__name__, x.shape, classifier.nb_classes)
        for part in parts
        # Copies, as it may write to what it is given.
        for loss in _listed(
            part.surrogate_losses(np.array(x), np.array(y), np.array(targets), classifier),
            type(part).__name__,
        )
    ]
    if not losses:
        raise ValueError(
            f"surrogate_losses of {', '.join(type(part).__name__ for part in parts)} returned no "
            f"loss: {TO_RETURN}."
        )
    return losses


def _listed(given: Any, of: str) -> list[SurrogateLoss]:
    """Return what an offer returned as a list; `of` is who made it."""
    listed = list(given) if isinstance(given, Iterable) else [given]
    wrong = next((loss for loss in listed if not isinstance(loss, SurrogateLoss)), None)
    if wrong is not None or not isinstance(given, Iterable):
        what = type(given if wrong is None else wrong).__name__
        raise TypeError(f"surrogate_losses of {of} returned a {what} for a loss: {TO_RETURN}.")
    return listed


def _checked(
    loss: SurrogateLoss, of: str, shape: tuple[int, ...], nb_classes: int
) -> SurrogateLoss:
    """Return a loss whose arrays are float32, of the shapes that they must have.

    Those of others would be stretched to the images, or lead to classes that are not meant.
    """

    def made(function: Callable[[], Any], name: str, wanted: tuple[int, ...]) -> Floats:
        array = _as_floats(function(), f"{name} of a surrogate loss of {of}")
        if array.shape != wanted:
            raise ValueError(
                f"{name} of a surrogate loss of {of} returned shape {array.shape}; for images of "
                f"shape {shape} and {nb_classes} classes return {wanted}."
            )
        return array

    return SurrogateLoss(
        partial(made, loss.scores, "scores", (shape[0], nb_classes)),
        partial(made, loss.gradient, "gradient", shape),
    )


def _as_floats(given: Any, what: str) -> Floats:
    """Return an array or a tensor of any framework and device as float32."""
    try:
        return np.asarray(to_numpy(given), np.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what} returned no array of numbers: {error}.") from error
