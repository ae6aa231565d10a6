"""Scores of classes, from what a model gives: logits, leads, and how y_c of [1] hangs on them."""

import torch
from torch import Tensor

from art_nip.estimators.base import SMALLEST, SMALLEST_FACTOR_IN_HALF


def logits_of(probabilities: Tensor) -> Tensor:
    """Return logarithms, with a gradient that is finite.

    :param probabilities: float32, shape (N, nb_classes).
    """
    given = probabilities.detach()
    # The logarithm, and of its gradient what float16 can hold; ∂ log y = ∂y / y.
    logits = given.clamp_min(SMALLEST).log()
    if not probabilities.requires_grad:
        return logits
    factor = torch.maximum(given, _least_factor(given)[:, None])
    return logits + (probabilities - given) / factor


def lead(logits: Tensor, classes: Tensor) -> Tensor:
    """Return by how much a class leads the best of the others, z_c − max over k ≠ c of z_k.

    :param logits: z, shape (N, nb_classes).
    :param classes: c of each image, int64, shape (N,).
    """
    place = classes[:, None]
    others = logits.scatter(1, place, -torch.inf).amax(dim=1)
    return logits.gather(1, place)[:, 0] - others


def score_gradient(
    outputs: Tensor, are_probabilities: bool, is_output: bool
) -> tuple[Tensor, Tensor]:
    """Return the gradient of a score to outputs, and the factor from it to that of y_c [1].

    The score has gradients about 1, that low precision does not lose: where the model is sure,
    y_c changes by less than float16 can tell from nothing.

    :param outputs: what the model gives, without its graph, float32, shape (N, nb_classes).
    :param are_probabilities: whether these are probabilities, else logits.
    :param is_output: whether y_c is one of the outputs, else it is the softmax of logits.
    :return: shapes (N, nb_classes) and (N,).
    """
    predicted = outputs.argmax(dim=1, keepdim=True)
    if are_probabilities:
        # ∂y_c = -∂rest, as they sum to 1; 1 - y_c would be lost where y_c is rounded to 1.
        rest = outputs.scatter(1, predicted, 0).sum(dim=1)
        top = outputs.gather(1, predicted)[:, 0]
        factor = torch.maximum(top * rest, _least_factor(outputs))
        factor = torch.where(rest > SMALLEST, factor, torch.ones_like(rest))
        slopes = (-1 / factor)[:, None].expand_as(outputs).scatter(1, predicted, 0)
        return slopes, factor
    if is_output:
        slopes = torch.zeros_like(outputs).scatter_(1, predicted, 1)
        return slopes, torch.ones_like(outputs[:, 0])
    # y = sigmoid(lead), so ∂y = y (1 - y) ∂lead, and the lead is over the logsumexp of others.
    y = outputs.softmax(1)
    rest = y.scatter(1, predicted, 0).sum(dim=1)
    factor = y.gather(1, predicted)[:, 0] * rest
    others = outputs.scatter(1, predicted, -torch.inf)
    slopes = others.softmax(1).neg_().scatter_(1, predicted, 1)
    return slopes, factor


def _least_factor(outputs: Tensor) -> Tensor:
    """Return by what gradients to probabilities may be divided at least, for each image.

    :param outputs: probabilities without a gradient, in float32.
    """
    in_half = (outputs == outputs.half()).all(dim=1)
    return torch.where(in_half, SMALLEST_FACTOR_IN_HALF, SMALLEST)
