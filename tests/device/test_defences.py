"""Every named defence does on a device what it does on the host."""

from typing import Any

import numpy as np
import pytest
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch

from art_nip import defences
from art_nip.utils.seeds import seeded
from tests.defences.helpers import QUICK
from tests.device.helpers import assert_alike, tensor

NAMES = [name for name in defences.NAMES if name != "nip"]


def defended(name: str, classifier: Any, bank: Any, x: np.ndarray, y: np.ndarray) -> list[Any]:
    """Return what the classifier with a defence says of images, and what the defence does."""
    named = defences.get(name)
    defence = named.create(classifier, **QUICK.get(name, {}))
    with seeded(0):
        if named.learns:
            defence.fit(*bank)
    if hasattr(defence, "get_classifier"):
        changed = defence.get_classifier()
        return [changed.predict(x), changed.loss_gradient(x, np.eye(10, dtype=np.float32)[y])]
    found = []
    with seeded(0):
        found.append(defence(x)[0])
    if isinstance(defence, PreprocessorPyTorch):
        assert defence.device == classifier.device
        given = tensor(x, classifier)
        with seeded(0):
            images, _ = defence.forward(given)
        images.square().sum().backward()
        assert images.device == given.grad.device == classifier.device
        found += [images.numpy(force=True), given.grad.numpy(force=True)]
    return found


@pytest.mark.parametrize("name", NAMES)
def test_as_on_the_host(pair, bank, few, name):
    x, y = (part[:3] for part in few)
    on_device, on_host = (defended(name, classifier, bank, x, y) for classifier in pair)
    assert len(on_device) == len(on_host) > 0
    for found, expected in zip(on_device, on_host, strict=True):
        assert_alike(found, expected, 1e-4, 0.99)
