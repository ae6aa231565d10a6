"""Checks whether a fit and a classifier belong together: the same scale of images and model."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.estimators.probing import probe_images
from art_nip.nip.bank import Fitted
from art_nip.utils.arrays import Array
from art_nip.utils.ranges import same_range


def check_images_alike(
    adapter: EstimatorAdapter, clip_values: tuple[Any, Any], estimator: Any
) -> None:
    """Raise a ValueError unless a classifier takes images as NIP does.

    On images of another scale everything that NIP adds is wrong, and no error would show it.

    :param adapter: the model as NIP sees it.
    :param clip_values: range (min, max) of the images as NIP sees it.
    :param estimator: the classifier.
    """
    theirs = estimator.clip_values
    if theirs is not None and not same_range(theirs, clip_values):
        raise ValueError(
            f"This NIPPreprocessor takes images of clip_values {clip_values!r}, and the "
            f"classifier of {tuple(theirs)!r}. Fit one with "
            "NIPPreprocessor.for_estimator(classifier), or give the classifier the same "
            "clip_values."
        )
    if not adapter.standardises_as(estimator):
        raise ValueError(
            "This NIPPreprocessor was made for a classifier with another preprocessing of mean and "
            "std, so that the same image is another one to it. Fit one with "
            "NIPPreprocessor.for_estimator(classifier)."
        )


STALE = (
    "The model's weights have changed since NIP was fitted, and template and candidates belong to "
    "those that it had then. Fit anew."
)
"""The warning for a fit whose model was trained afterwards."""

OTHER_ANSWERS = (
    "The model gives other scores for the same images than it did when NIP was fitted, though its "
    "weights are the same: what it does beside them has changed, such as a mean and std that are "
    "no weights, or an activation. Fit anew."
)
"""The message for a fit whose model has the same weights, but uses them in another way."""

SCORE_TOLERANCE = 0.05
"""The share of their spread by which scores of one model may differ: devices round differently."""


def answers(
    outputs: Callable[[Array], Array], adapter: EstimatorAdapter, clip_values: tuple[Any, Any]
) -> npt.NDArray[np.float32]:
    """Return what a model gives for made-up images, shape (images, nb_classes).

    Weights do not determine all that a model does: many models scale images by other numbers.

    :param outputs: function from images to what the model gives.
    :param adapter: the model.
    :param clip_values: range (min, max) of the images.
    :return: float32; NaN if the model does not answer twice alike, so that answers prove nothing.
    """
    images = adapter.tensor(probe_images(adapter.input_shape, clip_values))
    once, again = (np.asarray(adapter.numpy(outputs(images)), np.float32) for _ in "12")
    return once if _alike(once, again) else np.full_like(once, np.nan)


def _alike(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> bool:
    if one.shape != other.shape:
        return False
    both = np.isfinite(one) & np.isfinite(other)
    apart = np.abs(one - other)[both]
    return not both.any() or bool(apart.max() <= SCORE_TOLERANCE * np.ptp(one[both]))


def changed_since(
    fitted: Fitted, adapter: EstimatorAdapter, clip_values: tuple[Any, Any]
) -> str | None:
    """Return a message about a model that has changed since the fit; None if it has not.

    :param fitted: the fit.
    :param adapter: the model as it is now.
    :param clip_values: range (min, max) of the images.
    """
    if adapter.fingerprint() != fitted.fingerprint:
        return STALE
    now = answers(adapter.outputs, adapter, clip_values)
    return None if _alike(fitted.answers, now) else OTHER_ANSWERS
