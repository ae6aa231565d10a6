"""What tests on a device share: on the simulated one, or on a GPU."""

from typing import Any

import numpy as np
import torch

from art_nip.nip.retrieval.evidence.registry import EVIDENCES
from art_nip.nip.retrieval.registry import RETRIEVALS
from tests.helpers import SIMULATED

DEVICE = "sim:0" if SIMULATED else "cuda:0"

ROUNDING: dict[str, float] = {"atol": 1e-5} if SIMULATED else {"atol": 1e-4, "rtol": 1e-3}
"""How far what a device computes may be from what the host does; a GPU adds in another order."""

ALIKE = 1 if SIMULATED else 0.999
"""The least share of the values that are no farther: gradients jump where neurons change place."""

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
