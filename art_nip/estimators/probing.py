"""What a few made-up images tell of a model before any real one is there."""

from typing import Any

import numpy as np
import numpy.typing as npt

N_PROBES = 5
"""How many: more than one, so that they can be told apart, and rarely the size of another axis."""

SUM_OF_PROBABILITIES = 0.02
"""How far from 1 the sum of probabilities may be: bfloat16 has three digits."""


def probe_images(
    input_shape: tuple[int, ...], clip_values: tuple[Any, Any] | None
) -> npt.NDArray[np.float32]:
    """Return noise over the whole range, which no scaling by a model can divide by zero.

    A constant image has no range and no standard deviation: a model that scales each image by these
    gives NaN for it.

    :param input_shape: of one image.
    :param clip_values: range of the images; None is taken for (0, 1).
    :return: float32, shape (N_PROBES, *input_shape).
    """
    low, high = (0, 1) if clip_values is None else clip_values
    noise = np.random.default_rng(0).random((N_PROBES, *input_shape))
    lowest, highest = np.asarray(low, np.float64), np.asarray(high, np.float64)
    images: npt.NDArray[np.float64] = lowest + (highest - lowest) * noise
    return images.astype(np.float32)


def check_outputs(outputs: npt.NDArray[Any], nb_classes: int) -> npt.NDArray[Any]:
    """Return the scores of the probe images that are finite.

    :param outputs: what the model gives for the probe images.
    :raises ValueError: if that is not one score per class and image, or none is finite.
    """
    if outputs.shape != (N_PROBES, nb_classes):
        raise ValueError(
            f"The model gives outputs of shape {outputs.shape[1:]} per image; NIP needs one "
            f"score per class, shape ({nb_classes},)."
        )
    finite = np.isfinite(outputs).all(axis=1)
    if not finite.any():
        raise ValueError(
            "The model gives NaN or infinite scores for every one of the probe images, which are "
            "noise over the range of clip_values. Check its weights, its precision and the "
            "estimator's clip_values and preprocessing."
        )
    scores: npt.NDArray[Any] = outputs[finite]
    return scores


def are_probabilities(scores: npt.NDArray[Any]) -> bool:
    """Return whether scores, shape (N, nb_classes), are probabilities and not logits."""
    sums = scores.sum(axis=1, dtype=np.float64)
    return bool((scores >= 0).all() and (np.abs(sums - 1) < SUM_OF_PROBABILITIES).all())
