"""One model on a device and on the host, and few digits."""

import copy
from typing import Any

import pytest
import torch

from art_nip import zoo
from art_nip.zoo import training
from art_nip.zoo.training import Recipe
from tests.device.helpers import DEVICE
from tests.helpers import make_classifier


@pytest.fixture(scope="session")
def pair(digits) -> list[Any]:
    """Classifiers of one trained LeNet-5: on the device, and on the host."""
    training.seed_weights("pytorch", 0)
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    x, y = (part[:2000] for part in digits["train"])
    recipe = Recipe(epochs=2, batch_size=50, bfloat16=False)
    training.train(model, x, y, recipe, mean=0.1, std=0.9, verbose=False)
    classifiers = [
        make_classifier(
            "pytorch", copy.deepcopy(model).eval(), preprocessing=(0.1, 0.9), device_type=kind
        )
        for kind in ("gpu", "cpu")
    ]
    devices = [each.model.classifier[0].weight.device for each in classifiers]
    assert devices == [each.device for each in classifiers] == [*map(torch.device, (DEVICE, "cpu"))]
    return classifiers


@pytest.fixture
def on_device(pair) -> Any:
    return pair[0]


@pytest.fixture
def bank(digits) -> Any:
    return tuple(part[:100] for part in digits["bank"])


@pytest.fixture
def few(digits) -> Any:
    return tuple(part[:6] for part in digits["test"])
