"""PyTorch models as ART classifiers."""

from __future__ import annotations

from typing import Any

import torch
from art.estimators.classification import PyTorchClassifier

from art_nip.utils.pytorch import check_runs_as_written


def classifier(
    model: torch.nn.Module, input_shape: tuple[int, ...], nb_classes: int, **keywords: Any
) -> Any:
    """Return an ART classifier of a model of logits.

    :param model: a model; the classifier moves it to a GPU if there is one.
    :param input_shape: shape of one image, (C, H, W).
    :param nb_classes: number of logits.
    :param keywords: keywords of ART's class.
    :raises ValueError: if ART would not call the model's own `forward`.
    """
    check_runs_as_written(model)
    loss = torch.nn.CrossEntropyLoss()
    return PyTorchClassifier(model, loss, input_shape, nb_classes, **keywords)
