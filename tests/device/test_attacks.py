"""Every named attack goes through NIP on a device as on the host."""

import warnings

import numpy as np
import pytest

from art_nip import attacks
from art_nip.utils.seeds import seeded
from tests.attacks.test_registry import QUICK
from tests.helpers import SIMULATED
from tests.nip.helpers import fitted_on

THROUGH = ("eot", "bpda", "apgd", "steering")
"""Attacks that are made to go through defences."""

DRAWN_ON_THE_DEVICE = ("autoattack",)
"""Attacks that start from random images which a GPU draws otherwise than the host."""


@pytest.mark.parametrize(
    ("name", "retrieval"),
    [*((name, "similarity") for name in attacks.NAMES), *((name, "class") for name in THROUGH)],
)
def test_as_on_the_host(pair, bank, few, name, retrieval):
    x, y = (part[:3] for part in few)
    found = []
    for classifier in pair:
        defended = fitted_on(classifier, bank, retrieval).attach(classifier)
        with warnings.catch_warnings(), seeded(0):
            warnings.simplefilter("ignore")
            found.append(attacks.get(name).create(defended, **QUICK[name]).generate(x, y))
    assert not np.array_equal(found[0], x) or name == "noise"
    if SIMULATED:
        np.testing.assert_allclose(*found, atol=1e-4)
    elif name not in DRAWN_ON_THE_DEVICE:
        # Where a GPU rounds otherwise, a gradient of nearly nothing has another sign, or an attack
        # that asks for decisions takes another way.
        device, host = found
        changed = (device != x) | (host != x)
        assert not changed.any() or np.median(np.abs(device - host)[changed]) <= 1e-3
