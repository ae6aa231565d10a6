"""What the paper's tables count (section IV-A): rates of success, sizes of change, neurons kept.

Each rate comes with a confidence interval; no framework is needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.nip.neurons import ranks
from art_nip.utils.ranges import PixelRange
from art_nip.utils.validation import check_whole

ClipValues = tuple[npt.ArrayLike, npt.ArrayLike]

LEAST_CHANGE = 1e-6
"""The share of the range by which a value changes at least, if it counts as changed. Rounding in
float32 is a tenth of it, and images may have been through another range."""


@dataclass(frozen=True)
class Proportion:
    """A fraction of `n` images with its Wilson interval, all in [0, 1].

    With `n` = 0 there is no fraction: `value` is NaN and the interval is (0, 1).
    """

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, hits: npt.NDArray[np.bool_], confidence: float = 0.95) -> Proportion:
        """Count the true entries of `hits`.

        :param hits: one entry per image, bool, shape (n,).
        :param confidence: as in :func:`wilson_interval`.
        """
        n, successes = len(hits), int(np.count_nonzero(hits))
        low, high = wilson_interval(successes, n, confidence)
        return cls(successes / n if n else math.nan, low, high, n)

    def __str__(self) -> str:
        """Return percentages: `93.2 % [91.0, 94.9]`, or `n/a (n = 0)`."""
        if self.n == 0:
            return "n/a (n = 0)"
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Wilson's score interval (without continuity correction) of a proportion.

    Unlike value ± 2 standard errors it stays inside [0, 1] and keeps a width when every image, or
    none, succeeds. E. B. Wilson, JASA 22 (1927); method 3 of R. G. Newcombe, Stat. Med. 17 (1998).

    :param successes: number of successes, 0 to `n`.
    :param n: number of trials; 0 trials say nothing, and give (0, 1).
    :param confidence: coverage, strictly between 0 and 1.
    :return: lower and upper bound, each in [0, 1].
    :raises ValueError: if an argument is outside its range.
    """
    if not 0 <= successes <= n:
        raise ValueError(f"successes must lie between 0 and n; got {successes} of n = {n}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie strictly between 0 and 1 (0.95); got {confidence}.")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 or n successes a bound equals p, and rounding would put it on the wrong side.
    return max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p))


def predicted_classes(scores: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """Return the classes with the highest scores, shape (N,); -1, which is none, where none has it.

    That is so of NaN, and of scores that are all equal, as ART's randomized smoothing gives where
    it abstains. `argmax` says class 0 there, and an image of that class would count as right.

    :param scores: shape (N, classes).
    """
    values = np.asarray(scores)
    undecided = np.isnan(values).any(axis=1)
    if values.shape[1] > 1:
        undecided |= (values == values[:, :1]).all(axis=1)
    classes: npt.NDArray[np.int64] = np.where(undecided, -1, values.argmax(axis=1))
    return classes


def accuracy(
    labels: npt.ArrayLike, predictions: npt.ArrayLike, confidence: float = 0.95
) -> Proportion:
    """Return the classification accuracy.

    :param labels: true classes: indices, shape (N,), or one row per image, shape (N, classes).
    :param predictions: predicted classes, or the scores that ART's `predict` returns, likewise.
    :param confidence: as in :func:`wilson_interval`.
    :raises ValueError: if the lengths differ or an array has the wrong shape.
    """
    y, predicted = _classes(labels=labels, predictions=predictions)
    return Proportion.of(y == predicted, confidence)


def successful(
    labels: npt.ArrayLike, benign: npt.ArrayLike, adversarial: npt.ArrayLike
) -> npt.NDArray[np.bool_]:
    """Return which adversarial examples succeed: right when benign, wrong when attacked.

    An image that the model gets wrong without any attack is no success of the attack, and turning
    it right would be no success of a defence.

    :param labels: true classes, shape (N,) or (N, classes), as for :func:`accuracy`.
    :param benign: predictions of the undefended model on the benign images, likewise.
    :param adversarial: predictions of the undefended model on the attacked images, likewise.
    :return: one entry per image, bool, shape (N,).
    :raises ValueError: if the lengths differ or an array has the wrong shape.
    """
    y, before, after = _classes(labels=labels, benign=benign, adversarial=adversarial)
    mask: npt.NDArray[np.bool_] = (before == y) & (after != y)
    return mask


def attack_success_rate(
    labels: npt.ArrayLike,
    benign: npt.ArrayLike,
    adversarial: npt.ArrayLike,
    confidence: float = 0.95,
) -> Proportion:
    """Return the fraction of the correctly classified images that the attack turns wrong (ASR).

    The paper divides by all N images; dividing by those an attack can turn keeps the rate of a
    perfect attack at 1 whatever the model's accuracy.

    :param labels: as in :func:`successful`.
    :param benign: as in :func:`successful`.
    :param adversarial: as in :func:`successful`.
    :param confidence: as in :func:`wilson_interval`.
    :raises ValueError: if the lengths differ or an array has the wrong shape.
    """
    y, before, after = _classes(labels=labels, benign=benign, adversarial=adversarial)
    attackable = before == y
    return Proportion.of((after != y)[attackable], confidence)


def defence_success_rate(
    labels: npt.ArrayLike,
    benign: npt.ArrayLike,
    adversarial: npt.ArrayLike,
    defended: npt.ArrayLike,
    confidence: float = 0.95,
) -> Proportion:
    """Return the fraction of the successful adversarial examples that a defence puts right (DSR).

    :param labels: as in :func:`successful`.
    :param benign: as in :func:`successful`.
    :param adversarial: as in :func:`successful`.
    :param defended: predictions on the attacked images once they are defended, likewise.
    :param confidence: as in :func:`wilson_interval`.
    :return: the rate; its `n` counts the successful examples. With none there is no rate: `value`
        is NaN, neither a triumph of the defence nor a failure.
    :raises ValueError: if the lengths differ or an array has the wrong shape.
    """
    y, before, after, final = _classes(
        labels=labels, benign=benign, adversarial=adversarial, defended=defended
    )
    return Proportion.of((final == y)[successful(y, before, after)], confidence)


def l0_norm(
    benign: npt.ArrayLike, adversarial: npt.ArrayLike, clip_values: ClipValues = (0, 1)
) -> npt.NDArray[np.int64]:
    """Return how many values of each image changed, each channel of a pixel counted by itself.

    A change below `LEAST_CHANGE` of the range is rounding.

    :param benign: as in :func:`l2_norm`.
    :param adversarial: as in :func:`l2_norm`.
    :param clip_values: as in :func:`l2_norm`.
    :return: one number per image, int64, shape (N,).
    :raises ValueError: if the shapes differ, there is no batch axis, or the range is empty.
    """
    difference = np.abs(_difference(benign, adversarial, clip_values))
    changed = ~(difference < LEAST_CHANGE)  # NaN is a change too
    counts: npt.NDArray[np.int64] = changed.sum(axis=1, dtype=np.int64)
    return counts


def l2_norm(
    benign: npt.ArrayLike, adversarial: npt.ArrayLike, clip_values: ClipValues = (0, 1)
) -> npt.NDArray[np.float64]:
    """Return the L2 norm of each image's perturbation, in units of the range of the images.

    The same pictures in [0, 1], [0, 255], [-1, 1] or standardised have the same norm.

    :param benign: images, shape (N, *input_shape).
    :param adversarial: the attacked images, same shape and range.
    :param clip_values: the range of the images, as of ART's estimators: (min, max), numbers, or
        arrays that broadcast to an image, such as (C, 1, 1).
    :return: one norm per image, float64, shape (N,).
    :raises ValueError: if the shapes differ, there is no batch axis, or the range is empty.
    """
    difference = _difference(benign, adversarial, clip_values)
    norms: npt.NDArray[np.float64] = np.sqrt(np.square(difference).sum(axis=1))
    return norms


def linf_norm(
    benign: npt.ArrayLike, adversarial: npt.ArrayLike, clip_values: ClipValues = (0, 1)
) -> npt.NDArray[np.float64]:
    """Return the largest change of any value of each image, in units of the range of the images.

    :param benign: as in :func:`l2_norm`.
    :param adversarial: as in :func:`l2_norm`.
    :param clip_values: as in :func:`l2_norm`.
    :return: one norm per image, float64, shape (N,).
    :raises ValueError: if the shapes differ, there is no batch axis, or the range is empty.
    """
    difference = _difference(benign, adversarial, clip_values)
    norms: npt.NDArray[np.float64] = np.abs(difference).max(axis=1, initial=0)
    return norms


def psnr(
    reference: npt.ArrayLike, images: npt.ArrayLike, clip_values: ClipValues = (0, 1)
) -> npt.NDArray[np.float64]:
    """Return the peak signal-to-noise ratio of each image, 10·log10(peak² / MSE), in dB.

    The peak is the width of the range: in units of it, the ratio is 10·log10(1 / MSE). The paper
    writes 20·log10(peak² / MSE), which is twice the usual ratio.

    :param reference: images, shape (N, *input_shape).
    :param images: the images to judge, same shape and range.
    :param clip_values: as in :func:`l2_norm`.
    :return: one ratio per image, float64, shape (N,); infinite where the two are equal.
    :raises ValueError: if the shapes differ, there is no batch axis, or the range is empty.
    """
    error = np.square(_difference(reference, images, clip_values)).mean(axis=1)
    with np.errstate(divide="ignore"):
        ratios: npt.NDArray[np.float64] = 10 * np.log10(1 / error)
    return ratios


def top_k_neuron_consistency(
    benign: npt.ArrayLike, other: npt.ArrayLike, k: int = 5
) -> npt.NDArray[np.float64]:
    """Return the TKNC of each image: how many of its k most important neurons stay so.

    That is ``|A ∩ B| / |A ∪ B|`` of the two sets of k neurons; equal influence ranks by index. What
    counts is the order of the neurons, which does not depend on the range of the images.

    :param benign: neuron influence of the benign images, shape (N, n), as `nip.influence` gives it.
    :param other: that of the images after attack or defence, same shape.
    :param k: how many neurons count; the paper's 5.
    :return: one share per image, float64, shape (N,), from 0 to 1.
    :raises ValueError: if the shapes differ or are not (N, n), or k is not between 1 and n.
    """
    before, after = np.asarray(benign), np.asarray(other)
    if before.ndim != 2 or before.shape != after.shape:
        raise ValueError(
            f"Influence must have one shape (N, n) for both; got {before.shape} and {after.shape}."
        )
    check_whole("k", k, least=1)
    if k > before.shape[1]:
        raise ValueError(f"k must lie between 1 and the {before.shape[1]} neurons; got {k}.")
    first, second = (ranks(sigma) < k for sigma in (before, after))
    shared: npt.NDArray[np.float64] = (first & second).sum(axis=1) / (first | second).sum(axis=1)
    return shared


def _difference(
    first: npt.ArrayLike, second: npt.ArrayLike, clip_values: ClipValues
) -> npt.NDArray[np.float64]:
    """Return second - first in units of the range, one row per image."""
    # float64 before the difference: uint8 images would wrap around.
    a, b = _float64(first), _float64(second)
    if a.shape != b.shape or a.ndim == 0:
        raise ValueError(
            f"Both must be batches of one shape, (N, *input_shape); got {a.shape} and {b.shape}."
        )
    try:
        span = PixelRange.of(clip_values, _float64).span
    except (TypeError, ValueError, IndexError):
        span = _float64(np.nan)
    if not (span > 0).all():
        raise ValueError(
            f"clip_values={clip_values!r}; give the range of the images, (min, max) with min below "
            "max, such as (0, 1)."
        )
    rows: npt.NDArray[np.float64] = ((b - a) / span).reshape(len(a), math.prod(a.shape[1:]))
    return rows


def _float64(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    return np.asarray(values, dtype=np.float64)


def _classes(**arrays: npt.ArrayLike) -> list[npt.NDArray[np.int64]]:
    """Return class indices, shape (N,), of arrays that hold indices or one row of scores each."""
    indices = {name: _class_indices(name, np.asarray(values)) for name, values in arrays.items()}
    if len({len(array) for array in indices.values()}) > 1:
        lengths = ", ".join(f"{len(array)} {name}" for name, array in indices.items())
        raise ValueError(f"All arrays must describe the same images in one order; got {lengths}.")
    return list(indices.values())


def _class_indices(name: str, array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} must hold numbers; these have dtype {array.dtype}.")
    if array.ndim == 2 and array.shape[1] > 1:
        array = predicted_classes(array)
    if array.dtype == np.bool_:
        raise ValueError(
            f"{name} must hold class indices or scores; True and False may be a mask of images."
        )
    indices = array.astype(np.int64)
    # A lone column or a fraction would be the probability of one class, which is no index.
    if array.ndim != 1 or not np.array_equal(indices, array):
        raise ValueError(
            f"{name} must hold class indices, shape (N,), or scores, shape (N, classes >= 2); "
            f"got {array.dtype} of shape {array.shape}."
        )
    return indices
