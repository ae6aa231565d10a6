"""Whether a fit and a classifier belong together: images of one scale, weights of the fit."""

from typing import Any

from art_nip.estimators.base import EstimatorAdapter
from art_nip.utils.ranges import same_range


def check_images_alike(
    adapter: EstimatorAdapter, clip_values: tuple[Any, Any], estimator: Any
) -> None:
    """Raise a ValueError unless a classifier takes images as NIP does.

    On images of another scale all that NIP adds is wrong, and nothing would show it.

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
"""What is said of a fit whose model was trained afterwards."""
