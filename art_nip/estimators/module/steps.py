"""What ART does to images before the model sees them, as a list of steps."""

from __future__ import annotations

from typing import Any

from art.preprocessing.standardisation_mean_std.numpy import StandardisationMeanStd

OF_PREDICTION = ("predict", "_apply_preprocessing", "_make_model_wrapper")
"""The methods of ART's classifiers that make what they predict."""


def steps_of(
    classifier: Any, native: type, standardisation: type, straight_through: bool
) -> tuple[Any, ...]:
    """Return the preprocessors that ART applies when a classifier predicts, in their order.

    :param classifier: an ART classifier.
    :param native: the class of preprocessors that are written in the classifier's framework.
    :param standardisation: mean and std in that framework; it takes the place of NumPy's.
    :param straight_through: whether others may be there.
    :raises ValueError: if others are there, and may not.
    """
    steps = tuple(
        standardisation(step.mean, step.std) if isinstance(step, StandardisationMeanStd) else step
        for step in classifier.preprocessing_operations
        if step.apply_predict
    )
    others = [type(step).__name__ for step in steps if not isinstance(step, native)]
    if others and not straight_through:
        raise ValueError(
            f"Written for NumPy, and so without a gradient: {', '.join(others)}. Use the class for "
            "the classifier's framework if there is one, or as_module(…, straight_through=True), "
            "which goes back through it as ART does, mostly as if it were the identity."
        )
    return steps


def check_predicts_as(classifier: Any, *kinds: Any) -> None:
    """Raise a TypeError if a classifier predicts in another way than by steps and one model.

    :param classifier: an ART classifier.
    :param kinds: ART's classes that predict so.
    """
    own = type(classifier)
    for kind in kinds:
        if all(_function(own, part) is _function(kind, part) for part in OF_PREDICTION):
            return
    raise TypeError(
        f"A {own.__name__} predicts in a way of its own, which its model alone does not follow: "
        f"give a {' or '.join(kind.__name__ for kind in kinds)}."
    )


def _function(kind: type, name: str) -> Any:
    """Return a method of a class, whichever of its bases it is from; None if there is none."""
    bases = (base for base in kind.__mro__ if not _keeps_predictions(base))
    return next((vars(base)[name] for base in bases if name in vars(base)), None)


def _keeps_predictions(base: type) -> bool:
    """Return whether a class is what makes a clone in this package, and predictions stay the same.

    These convert or copy the arrays that ART is given, or say that they save `predict` work only.
    """
    if not base.__module__.startswith("art_nip."):
        return False
    return "predict" not in vars(base) or bool(vars(base).get("keeps_predictions", False))


def check_shape(shape: tuple[int, ...], input_shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless a batch of images has the shape that a classifier takes."""
    if shape[1:] != input_shape or not shape:
        expected = ", ".join(map(str, ("N", *input_shape)))
        raise ValueError(f"Images have shape {shape}; the classifier takes ({expected}).")
