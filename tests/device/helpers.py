"""What tests on the simulated device share."""

from typing import Any

import numpy as np
import torch

from art_nip.nip.retrieval.evidence.registry import EVIDENCES
from art_nip.nip.retrieval.registry import RETRIEVALS

DEVICE = torch.device("sim:0")

WAYS: list[Any] = [
    *(name for name in RETRIEVALS if name != "class"),
    *({"name": "class", "evidence": evidence} for evidence in EVIDENCES),
]
"""Every retrieval, with every evidence."""


def name_of(way: Any) -> str:
    """Return the name of one of `WAYS`."""
    return way if isinstance(way, str) else way["evidence"]


def tensor(array: np.ndarray, classifier: Any) -> torch.Tensor:
    """Return images as a leaf of a graph, on the device of a classifier."""
    return torch.tensor(array, device=classifier.device, requires_grad=True)
