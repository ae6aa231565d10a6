"""The least that δ's retrieval costs for one image in PyTorch: the same passes, written by hand.

No hook, no check, no mode, no other layer than LeNet-5's or ResNet-20's own: what `predict` behind
this takes is what no change of the package goes below.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from art_nip import NIPPreprocessor
from art_nip.nip.neurons import part_ends


def by_hand(nip: NIPPreprocessor, estimator: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return what predicts as the defended classifier does.

    :param nip: a NIP with retrieval by similarity, fitted for the classifier.
    :param estimator: of one of the zoo's models, on the CPU, with images in [0, 1].
    """
    model, tensor = estimator.model.eval(), nip._adapter.tensor
    template = tensor(nip.neuron_template)
    template = template / template.norm()
    similarities = nip.candidates.similarities
    order = np.argsort(similarities, kind="stable")
    ascending, order = tensor(similarities[order]), torch.from_numpy(order)
    candidates, last = tensor(nip.candidates.perturbations), len(order) - 1
    front, middle = part_ends(nip.n_neurons, nip.fractions)

    def influence(x: Tensor) -> Tensor:
        with torch.no_grad():
            neurons = model.flatten(model.features(x))
        neurons.requires_grad_()
        scores = model.classifier(neurons)
        given = scores.detach()
        top = given.argmax(1, keepdim=True)
        slopes = given.scatter(1, top, -torch.inf).softmax(1).neg_().scatter_(1, top, 1)
        (gradient,) = torch.autograd.grad(scores, neurons, slopes)
        return gradient * neurons.detach()

    def defended(x: Tensor) -> Tensor:
        values, places = influence(x).sort(dim=1, descending=True, stable=True)
        values, places = values[:, front:middle], places[:, front:middle]
        delta = (values * template[places]).sum(1) / (values * values).sum(1).sqrt()
        right = torch.searchsorted(ascending, delta).clamp_(1, last)
        left = right - 1
        is_left = delta - ascending[left] <= ascending[right] - delta
        found = candidates[order[torch.where(is_left, left, right)]]
        return (x + x.mean((1, 2, 3), keepdim=True) * found).clamp_(0, 1)

    return lambda x: estimator.predict(defended(torch.from_numpy(x)).numpy())
