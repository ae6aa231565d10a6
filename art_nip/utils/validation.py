"""What users give, checked in one place: images, labels, classifiers, numbers and names.

What is refused is refused with a sentence: what was given, what is allowed, what to do.
"""

import difflib
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.utils.arrays import Array, namespace
from art_nip.utils.frameworks import Framework, model_framework
from art_nip.utils.warned import warn

ROUNDING = 1e-4
"""How far outside the clip range a value may lie, as a share of the range."""

WIDE = 100
"""Where white is this or more, images with values from 0 to 1 are most often a mistake."""


def real_numbers(x: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return images as a NumPy array of the dtype that they have.

    :raises TypeError: if they are an array of objects, or no real numbers.
    :raises ValueError: if some are masked.
    """
    check_nothing_masked(x, "Images", "fill them, x.filled(0), or leave these images out")
    try:
        array = np.asarray(x)
    except ValueError:  # rows of different lengths
        array = np.empty(0, object)
    real = array.dtype == np.bool_ or np.issubdtype(array.dtype, np.number)
    if not real or np.issubdtype(array.dtype, np.complexfloating):
        raise TypeError(
            f"Images must be an array of numbers; these have dtype {array.dtype}. Images of "
            "different sizes cannot be one array: resize them first."
        )
    return array


def check_nothing_masked(values: Any, name: str, advice: str) -> None:
    """Raise a ValueError if values of NumPy's masked arrays are masked: NumPy forgets that.

    :param values: an array, or anything else.
    :param name: what they are, for the error.
    :param advice: what to do.
    """
    masked = np.ma.getmaskarray(values).sum() if isinstance(values, np.ma.MaskedArray) else 0
    if masked:
        raise ValueError(
            f"{name} are a masked array, of which {masked} values are masked, "
            f"and would count as what lies behind the mask: {advice}."
        )


def numeric(x: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return images as a float32 NumPy array.

    :raises TypeError: if they are an array of objects, or no real numbers.
    """
    array = real_numbers(x)
    return np.ascontiguousarray(array, np.float32) if array.ndim else array.astype(np.float32)


def check_shape(x: Array, input_shape: tuple[int, ...]) -> None:
    """Raise a ValueError unless images have the right shape.

    :param x: NumPy array or tensor.
    :param input_shape: shape of one image.
    """
    shape = tuple(x.shape)
    if shape[1:] != input_shape or not shape:
        expected = ", ".join(map(str, ("N", *input_shape)))
        hint = (
            " These look like one image: add a first axis, x[None]."
            if shape == input_shape
            else " Check the order of channels."
            if sorted(shape[1:]) == sorted(input_shape)
            else ""
        )
        raise ValueError(f"Images have shape {shape}; the model takes ({expected}).{hint}")


def check_images(
    x: Array, input_shape: tuple[int, ...], clip_values: tuple[Any, Any] | None
) -> None:
    """Raise a ValueError unless images have the right shape, are finite, and lie in the clip range.

    A warning says that images most probably are in another range, which lies within it.

    :param x: NumPy array or tensor.
    :param input_shape: shape of one image.
    :param clip_values: (min, max), numbers or nested lists of numbers; None allows any range.
    """
    check_shape(x, input_shape)
    if not x.shape[0]:
        return
    xp = namespace(x)
    # A sum is finite only if all its terms are, and needs no mask of the size of the images. One
    # in half precision would overflow.
    half = "float16" in str(x.dtype)
    if not math.isfinite(float(xp.sum(x, dtype=xp.float32) if half else xp.sum(x))):
        raise ValueError("Images contain NaN or infinite values; clean them first.")
    if clip_values is None:
        return
    low, high = clip_range(clip_values)
    smallest, largest = float(xp.min(x)), float(xp.max(x))
    slack = ROUNDING * (high - low)
    outside = smallest < low - slack or largest > high + slack
    if outside or _leaves_a_channel(x, clip_values):
        of_channels = "" if outside else " of their channels"
        raise ValueError(
            f"Images have values from {smallest:g} to {largest:g}, outside the clip_values "
            f"({low:g}, {high:g}){of_channels}. Scale them to that range, or set the clip_values "
            "that they have."
        )
    in_unit = smallest >= 0 and 0 < largest <= 1
    if low == 0 and WIDE <= high < math.inf and in_unit and bool(xp.any(x != xp.round(x))):
        warn(
            f"All values of these images are from 0 to 1, and the clip_values are ({low:g}, "
            f"{high:g}): to the model they are all but black. If they were scaled to [0, 1], give "
            "the classifier clip_values=(0, 1), or scale them back; else take no notice."
        )


def _leaves_a_channel(x: Array, clip_values: tuple[Any, Any]) -> bool:
    """Return whether images leave a range that is not the same for all of their values."""
    low, high = (np.asarray(bound, np.float32) for bound in clip_values)
    if low.size == high.size == 1:
        return False
    xp, slack = namespace(x), ROUNDING * (high - low)
    least, most = (np.asarray(ends(x, axis=0)) for ends in (xp.min, xp.max))
    return bool((least < low - slack).any() or (most > high + slack).any())


def is_predicting() -> bool:
    """Return whether one of ART's classifiers, as it predicts, has called the function that asks.

    ART calls preprocessors for NumPy, and `KerasClassifier` all, as a user does; but in the middle
    of attacks images may leave the range, or be NaN.
    """
    return sys._getframe(2).f_code.co_name == "_apply_preprocessing"


def clip_range(clip_values: tuple[Any, Any]) -> tuple[float, float]:
    """Return the least and the greatest value of any pixel.

    :param clip_values: (min, max), numbers, arrays or nested lists of numbers.
    """
    return float(np.min(clip_values[0])), float(np.max(clip_values[1]))


def class_indices(y: npt.ArrayLike, n_images: int, nb_classes: int) -> npt.NDArray[np.int64]:
    """Return labels as class indices, int64, shape (N,).

    :param y: indices, shape (N,), or one-hot, shape (N, nb_classes).
    :param n_images: N.
    :param nb_classes: how many classes the model tells apart.
    :raises ValueError: if labels have another length or shape, or are no classes.
    """
    check_nothing_masked(y, "Labels", "leave these images out")
    labels = np.asarray(y)
    if labels.dtype.kind not in "biuf":
        raise ValueError(
            f"Labels must be numbers, class indices or one-hot rows; these have dtype "
            f"{labels.dtype}. Number the classes from 0 to {nb_classes - 1}."
        )
    if labels.shape not in ((n_images,), (n_images, nb_classes)):
        raise ValueError(
            f"Labels have shape {labels.shape}; for {n_images} images give indices of shape "
            f"({n_images},) or one-hot labels of shape ({n_images}, {nb_classes})."
        )
    if labels.ndim == 1 and labels.dtype == np.bool_:
        raise ValueError(
            "Labels are True and False, which may be a mask of images instead of their classes. "
            f"Give class indices, whole numbers from 0 to {nb_classes - 1}."
        )
    if labels.ndim == 2:
        if not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise ValueError("One-hot labels must have a single 1 in each row and 0 elsewhere.")
        labels = labels.argmax(axis=1)
    # Where labels are fractions, not numbers or beyond every class, none of these is among them.
    known = np.isin(labels, np.arange(nb_classes))
    if not known.all():
        row = int(np.argmin(known))
        raise ValueError(
            f"Labels must be whole numbers from 0 to {nb_classes - 1}; these range from "
            f"{labels.min()} to {labels.max()}, and that of image {row} is {labels[row]}."
        )
    indices: npt.NDArray[np.int64] = labels.astype(np.int64)
    return indices


def check_classifier(thing: Any, user: str) -> None:
    """Raise a TypeError that says what to do unless something is a classifier of ART.

    :param thing: what was given for a classifier. A model alone does not say in which range its
        images are, nor how they are standardised.
    :param user: what it was given to, for the error.
    """
    # As long as ART's classifiers have not been imported, nobody can have made one.
    art = sys.modules.get("art.estimators.classification.classifier")
    if art is not None and isinstance(thing, art.ClassifierMixin):
        return
    if isinstance(thing, type):
        what, advice = f"the class {thing.__name__}", "Give an object of it, which has a model."
    else:
        what, advice = f"a {type(thing).__name__}", _how_to_wrap(thing)
    raise TypeError(f"{user} takes a classifier of ART, and got {what}. {advice}")


def _how_to_wrap(thing: Any) -> str:
    if any(kind.__module__.startswith("art.estimators") for kind in type(thing).__mro__):
        return "It is an estimator, but does not classify images."
    try:
        framework = model_framework(thing)
    except TypeError:
        return "Give a PyTorchClassifier or a TensorFlowV2Classifier, which hold a model."
    arguments = {
        Framework.PYTORCH: "PyTorchClassifier(model, loss, input_shape, nb_classes",
        Framework.TENSORFLOW: "TensorFlowV2Classifier(model, nb_classes, input_shape, "
        "loss_object=loss",
    }
    return (
        "It is a model: wrap it as art.estimators.classification."
        f"{arguments[framework]}, clip_values=(0, 1)), with the range of your images."
    )


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raise a ValueError unless a parameter is a whole number of at least `least`.

    :param name: of the parameter.
    :param value: a number of Python or NumPy; True and False are none.
    :param least: the smallest one allowed.
    :param most: the largest one allowed; None for any.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least
    if not whole or (most is not None and int(value) > most):
        allowed = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise ValueError(f"{name}={value!r}; give a whole number {allowed}.")


def check_seed(seed: Any) -> None:
    """Raise a ValueError unless a seed is a whole number from 0 on, or None."""
    if seed is not None:
        check_whole("seed", seed, least=0)


def check_flag(name: str, value: Any) -> None:
    """Raise a ValueError unless a parameter is True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name}={value!r}; give True or False.")


def check_number(name: str, value: Any, low: float, high: float = np.inf) -> None:
    """Raise a ValueError unless a parameter is a finite number from `low` to `high`.

    :param name: of the parameter.
    :param value: a number of Python or NumPy; True and False are none.
    :param low: the smallest one allowed.
    :param high: the largest one allowed.
    """
    if not is_number(value) or not low <= value <= high:
        allowed = f"from {low:g} to {high:g}" if np.isfinite(high) else f"of at least {low:g}"
        raise ValueError(f"{name}={value!r}; give a number {allowed}.")


def check_positive(name: str, value: Any, most: float = math.inf) -> None:
    """Raise a ValueError unless a parameter is a finite number above 0, and at most `most`."""
    if not is_number(value) or not 0 < value <= most:
        allowed = f"above 0 and at most {most:g}" if math.isfinite(most) else "above 0"
        raise ValueError(f"{name}={value!r}; give a finite number {allowed}.")


def is_number(value: Any) -> bool:
    """Return whether something is a finite number of Python or NumPy; True and False are none.

    :param value: anything.
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number that no float holds
        return False


def nearest_name(given: str, names: Iterable[str]) -> str:
    """Return the name that is spelt most like the one given, for an error.

    :param given: what a user wrote, in whichever case.
    :param names: at least one.
    """
    folded = {name.casefold(): name for name in names}
    nearest = difflib.get_close_matches(str(given).casefold(), folded, n=1, cutoff=0)[0]
    return folded[nearest]


def check_choice(what: str, given: str, allowed: Sequence[str]) -> None:
    """Raise a ValueError that names the nearest unless a name is one of those allowed.

    :param what: the names are of.
    :param given: what a user wrote.
    :param allowed: at least one name.
    """
    if given not in allowed:
        raise ValueError(
            f"Unknown {what} {given!r}. Did you mean {nearest_name(given, allowed)!r}? Allowed: "
            f"{', '.join(allowed)}."
        )


def plain(value: Any) -> Any:
    """Return a value with NumPy's scalars, which ART refuses, as Python's own.

    :param value: anything; scalars inside tuples, lists and mappings count too.
    """
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (tuple, list):
        return type(value)(map(plain, value))
    if isinstance(value, Mapping):
        return {plain(name): plain(item) for name, item in value.items()}
    return value
