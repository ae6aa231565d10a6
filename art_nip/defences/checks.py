"""What defences ask of a classifier, and of the range of its images."""

from __future__ import annotations

from typing import Any

import numpy as np

from art_nip.utils.frameworks import Framework, framework_of


def channels_first(classifier: Any) -> bool:
    """Return whether a classifier takes images of (C, H, W); black boxes do not say."""
    shape = classifier.input_shape
    return bool(getattr(classifier, "channels_first", shape[0] < shape[-1]))


def check_classifier(thing: Any, user: str) -> None:
    """Raise a TypeError that says how to wrap a model unless something is an estimator of ART.

    :param thing: what was given for an ART classifier.
    :param user: what it was given to.
    """
    from art.estimators.estimator import BaseEstimator

    if isinstance(thing, BaseEstimator):
        return
    wrappers = {
        Framework.PYTORCH: "PyTorchClassifier(model, loss=…, input_shape=…, nb_classes=…, "
        "clip_values=(0, 1))",
        Framework.TENSORFLOW: "TensorFlowV2Classifier(model, nb_classes=…, input_shape=…, "
        "loss_object=…, clip_values=(0, 1))",
    }
    framework = framework_of(thing)
    how = (
        f"This is a model of {framework.label}: wrap it, "
        f"art.estimators.classification.{wrappers[framework]}."
        if framework in wrappers
        else "Give a classifier of art.estimators.classification."
    )
    raise TypeError(f"{user} takes an ART classifier, not {type(thing).__name__}. {how}")


def check_range(clip_values: Any) -> None:
    """Raise a ValueError unless this is a range: (min, max), finite numbers or arrays of them."""
    try:
        low, high = (np.asarray(bound) for bound in clip_values)
        numbers = all(np.issubdtype(bound.dtype, np.number) for bound in (low, high))
        fits = numbers and bool((-np.inf < low).all() and (low < high).all())
        fits = fits and bool((high < np.inf).all())
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"clip_values={clip_values!r}; give two numbers (min, max) with min below max, or two "
            "arrays that broadcast to an image."
        )
