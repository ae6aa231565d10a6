"""Two classifiers on the same images: how far their rates differ, and whether by chance.

Of images that both get right, or both wrong, nothing is learned. The test looks at the others only,
the *discordant* ones (McNemar, Psychometrika 12, 1947).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from scipy.stats import binom, binomtest

POWER = 0.8
"""The probability with which a difference that is there shall be found."""

ALPHA = 0.05
"""The largest p at which a difference counts as found."""


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two rates over the same images, all but `p` and `n` in [-1, 1].

    :param value: the first rate minus the second.
    :param low: lower bound of its 95 % interval. It is Wald's with the adjustment of Bonett and
        Price, J. Educ. Behav. Stat. 37 (2012), which Fagerland, Lydersen and Laake, Stat. Med. 33
        (2014) recommend; it keeps a width where no image is discordant.
    :param high: upper bound.
    :param p: of the exact McNemar test, two-sided.
    :param n: the number of images.
    """

    value: float
    low: float
    high: float
    p: float
    n: int

    @classmethod
    def of(cls, first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> PairedDifference:
        """Compare hits, image by image.

        :param first: one entry per image, bool, shape (n,), n at least 1.
        :param second: the same images, in the same order.
        :raises ValueError: if the shapes differ or there is no image.
        """
        if first.shape != second.shape or first.ndim != 1 or not len(first):
            raise ValueError(
                f"Both must describe the same images, shape (n,); got {first.shape} and "
                f"{second.shape}."
            )
        n = len(first)
        won, lost = int((first & ~second).sum()), int((second & ~first).sum())
        more, less = (won + 1) / (n + 2), (lost + 1) / (n + 2)
        z = NormalDist().inv_cdf(0.975)
        half = z * math.sqrt((more + less - (more - less) ** 2) / (n + 2))
        p = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
        return cls(
            (won - lost) / n, max(-1.0, more - less - half), min(1.0, more - less + half), p, n
        )


def holm(ps: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number (Holm, Scand. J. Stat. 6, 1979), in their order.

    The probability that any of them is below α by chance alone is at most α.
    """
    order = np.argsort(ps)
    factors = np.arange(len(ps), 0, -1)
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * np.asarray(ps)[order]))
    return [float(p) for p in adjusted]


def images_needed(difference: float, discordant: float) -> int:
    """Return how many images it takes to show that two classifiers differ on the same images.

    That is for one comparison, by the exact McNemar test with the power `POWER` at `ALPHA`; several
    at once take more.

    :param difference: the difference of their rates, above 0.
    :param discordant: the share of the images that one of the two gets right and the other wrong,
        at least `difference`, at most 1. The number grows in proportion to it.
    :raises ValueError: if an argument is outside its range.
    """
    if not 0 < difference <= discordant <= 1:
        raise ValueError(
            f"difference={difference!r} and discordant={discordant!r}; the difference must be "
            "above 0 and at most the share of discordant images, and that at most 1."
        )
    # The normal approximation (Connor, Biometrics 43, 1987) takes 7.85 times this quotient.
    enough = math.ceil(20 * discordant / difference**2)
    return bisect_left(range(enough), POWER, key=lambda n: _power(n, difference, discordant))


def number_of_images(suite: str, n: int) -> str:
    """Return a sentence on how many images show a difference of three points.

    :param suite: label of an adaptive suite.
    :param n: how many images it attacks.
    """
    difference, discordant = 0.03, 0.1
    needed = images_needed(difference, discordant)
    return (
        f"The suite {suite!r} attacks {n} images. It takes {needed} to show that a defence changes "
        f"the worst-case accuracy by {100 * difference:g} points, if {100 * discordant:g} % of the "
        "images are right with the defence and wrong without it, or the reverse (power "
        f"{POWER:g}, exact McNemar test of one defence, α = {ALPHA:g})."
    )


def _power(n: int, difference: float, discordant: float) -> float:
    """Return the probability that the test finds a difference, over all numbers of discordants."""
    pairs = np.arange(n + 1)
    # With how few wins, or losses, of so many discordant images p is at most ALPHA; -1 for none.
    few = binom.ppf(ALPHA / 2, pairs, 0.5)
    few -= binom.cdf(few, pairs, 0.5) > ALPHA / 2
    won = (discordant + difference) / (2 * discordant)
    found = binom.cdf(few, pairs, won) + binom.cdf(few, pairs, 1 - won)
    return float(binom.pmf(pairs, n, discordant) @ found)
