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

WAYS: list[Any] = [
    *(name for name in RETRIEVALS if name != "class"),
    *({"name": "class", "evidence": evidence} for evidence in EVIDENCES),
]
"""Every retrieval, with every evidence."""


def assert_alike(
    found: np.ndarray, expected: np.ndarray, atol: float, share: float, name: str = ""
) -> None:
    """Assert that values of the device are those of the host.

    :param atol: how far they may be apart on the simulated device.
    :param share: more than that share of them is close on a GPU. Where that rounds otherwise,
        neurons change place, and a gradient of nearly nothing has another sign.
    """
    if SIMULATED:
        np.testing.assert_allclose(found, expected, atol=atol, err_msg=name)
    else:
        assert np.isclose(found, expected, **ROUNDING).mean() > share, name


def name_of(way: Any) -> str:
    """Return the name of one of `WAYS`."""
    return way if isinstance(way, str) else way["evidence"]


def tensor(array: np.ndarray, classifier: Any) -> torch.Tensor:
    """Return images as a leaf of a graph, on the device of a classifier."""
    return torch.tensor(array, device=classifier.device, requires_grad=True)
