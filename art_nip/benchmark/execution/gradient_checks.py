"""Inspects a defended classifier: can results of gradient attacks be believed?

Gradient attacks find too few adversarial examples if the defence is random, or if its gradient is
zero or wrong (Athalye et al., "Obfuscated gradients give a false sense of security", 2018).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.utils.ranges import PixelRange

Floats = npt.NDArray[np.float32]

STEP = 0.05
"""L2 norm of the difference, in clip ranges: far above rounding, far below what attacks add."""


def inspect(classifier: Any, x: Floats) -> dict[str, Any]:
    """Return facts about the gradients on a few images, as JSON can hold them.

    :param classifier: an ART classifier with all its defences.
    :param x: benign images, shape (N, *input_shape).
    :return: `deterministic`; and where the classifier gives gradients `nonzero`, the share of the
        images whose gradient towards the second class is not zero, and for each of those images
        `steepness`: the size of the gradient away from the first class, which most attacks follow,
        over the size of that one; and, where the classifier is deterministic, `slopes`: by how much
        the loss rises along the gradient, over what the gradient says.
    """
    scores = np.asarray(classifier.predict(x))
    again = np.asarray(classifier.predict(x))
    found: dict[str, Any] = {"deterministic": bool(np.array_equal(scores, again, equal_nan=True))}
    if not hasattr(classifier, "loss_gradient"):
        return found
    # Towards the second class: away from the first, the loss is flat where the model is sure.
    ranked = np.eye(scores.shape[1], dtype=np.float32)[np.argsort(scores, axis=1)]
    firsts, targets = ranked[:, -1], ranked[:, -2]
    pixels = PixelRange.of(classifier.clip_values)
    # Away from the edges, so that the steps stay in the range, which some defences ask for.
    inner = pixels.pixels(0.9 * pixels.unit(x) + np.float32(0.05))
    slopes: list[float] = []
    steepness: list[float] = []
    # One by one: what ART's gradients are divided by in a batch is the loss's own choice.
    for image, target, first in zip(inner, targets, firsts, strict=True):
        gradient = _gradient(classifier, image, target, pixels)
        length = float(np.linalg.norm(gradient))
        if not length:
            continue
        away = _gradient(classifier, image, first, pixels)
        steepness.append(float(np.linalg.norm(away)) / length)
        if found["deterministic"]:
            slopes.append(_rise(classifier, image, target, gradient / length, pixels) / length)
    found |= {"nonzero": len(steepness) / len(x), "steepness": steepness}
    if found["deterministic"]:
        found["slopes"] = slopes
    return found


def _gradient(classifier: Any, image: Floats, target: Floats, pixels: PixelRange) -> Floats:
    """Return the gradient of the loss of a target to an image, in units of the range."""
    gradient: Floats = np.asarray(classifier.loss_gradient(image[None], target[None])) * pixels.span
    return gradient


def _rise(
    classifier: Any, image: Floats, target: Floats, direction: Floats, pixels: PixelRange
) -> float:
    """Return by how much the loss of a target rises in a direction of length 1, for a unit."""
    step = pixels.span * (STEP * direction).astype(np.float32)
    ahead, behind = (
        float(np.sum(classifier.compute_loss(moved, target[None])))
        for moved in (
            np.clip(image[None] + step, pixels.low, pixels.high),
            np.clip(image[None] - step, pixels.low, pixels.high),
        )
    )
    return (ahead - behind) / (2 * STEP)
