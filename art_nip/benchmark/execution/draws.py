"""A random defence answers otherwise when it is asked again: how often it is asked, what counts.

An attacker may ask again until an answer is wrong, so that a defence which tosses a coin is worth
nothing. Whoever defends may ask again too, and go by the majority.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.attacks.gradient_estimators import differ
from art_nip.benchmark.execution.store import Result
from art_nip.metrics import predicted_classes

Classes = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

DRAWS = 10
"""How often a random defence is asked about an image unless the user says otherwise."""

IMAGES_ASKED_AGAIN = 8
"""On so many images it is seen whether a defence is random."""

TIMES_ASKED_AGAIN = 3
"""How often they are asked once more: a coin tossed for all at once may agree with itself."""


def answers(
    scores: npt.NDArray[Any],
    x: npt.NDArray[np.float32],
    predict: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]],
    draws: int,
) -> Classes | None:
    """Return the classes of several draws, shape (N, draws); None if nothing is random.

    :param scores: those of the first draw, shape (N, nb_classes).
    :param x: the images, shape (N, *input_shape).
    :param predict: a function that draws scores of images.
    :param draws: how often each image is asked about; 1 asks no more.
    """
    if draws == 1:
        return None
    n = len(x)
    asked = x[np.unique(np.linspace(0, n - 1, min(n, IMAGES_ASKED_AGAIN)).astype(int))]
    # Not with `scores`: in a batch of another size, the same classifier may round otherwise.
    first = predict(asked)
    if not any(differ(first, predict(asked)) for _ in range(TIMES_ASKED_AGAIN)):
        return None
    others = [predicted_classes(predict(x)) for _ in range(draws - 1)]
    return np.stack([predicted_classes(scores), *others], axis=1)


def drawn(predictions: Result) -> Classes:
    """Return the classes of all draws, shape (N, draws): of one where nothing was random."""
    arrays = predictions.arrays
    found: Classes = arrays["draws"] if "draws" in arrays else arrays["classes"][:, None]
    return found


def wrong_in_any(classes: Classes, y: Classes) -> Mask:
    """Return the images of which another class than the true one is drawn at least once.

    :param classes: of all draws, shape (N, draws).
    :param y: the true classes, shape (N,).
    """
    wrong: Mask = (classes != y[:, None]).any(axis=1)
    return wrong


def wrong_by_majority(classes: Classes, y: Classes) -> Mask:
    """Return the images of which another class is drawn as often as the true one, or more often.

    :param classes: of all draws, shape (N, draws).
    :param y: the true classes, shape (N,).
    """
    true = classes == y[:, None]
    votes = (classes[:, :, None] == classes[:, None, :]).sum(axis=2)
    wrong: Mask = true.sum(axis=1) <= np.where(true, 0, votes).max(axis=1)
    return wrong
