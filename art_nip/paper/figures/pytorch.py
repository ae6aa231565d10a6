"""Grad-CAM by Captum."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from art_nip.estimators.module import as_module
from art_nip.utils.optional import require
from art_nip.utils.pytorch import to_numpy


def grad_cam(classifier: Any, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return Grad-CAM of each image's predicted class at the last convolution.

    :param classifier: an ART `PyTorchClassifier` of a model of the zoo.
    :param x: images, shape (N, C, H, W).
    :return: maps of the images' size, at least 0, shape (N, H, W).
    """
    captum = require("captum.attr", to="draw Grad-CAM", install="captum")
    module = as_module(classifier)
    last = [part for part in module.modules() if isinstance(part, torch.nn.Conv2d)][-1]
    images = torch.from_numpy(x).to(classifier.device)
    targets = torch.from_numpy(classifier.predict(x).argmax(axis=1)).to(classifier.device)
    maps = captum.LayerGradCam(module, last).attribute(images, targets, relu_attributions=True)
    sized = captum.LayerAttribution.interpolate(maps, x.shape[2:], "bilinear")
    found: npt.NDArray[np.float32] = to_numpy(sized)[:, 0]
    return found
