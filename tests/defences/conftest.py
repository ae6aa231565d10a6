"""Small models for colour pictures, and the pictures."""

from typing import Any

import numpy as np
import pytest

from art_nip import zoo
from art_nip.zoo import training
from tests.defences.helpers import CLASSES, SIDE, Pictures, crops, oriented
from tests.helpers import lenets, make_classifier


@pytest.fixture(scope="session")
def colour_models() -> dict[str, Any]:
    """LeNet-5 for colour images with the same untrained weights in both frameworks."""
    training.seed_weights("pytorch", 0)
    model = zoo.create("lenet5", input_shape=(3, SIDE, SIDE), nb_classes=CLASSES).eval()
    # Of random weights one class would be predicted for all images.
    images = oriented(crops(24, seed=1), "pytorch")
    scores = make_classifier("pytorch", model, (3, SIDE, SIDE), CLASSES).predict(images)
    last = list(model.modules())[-1]
    last.bias.data -= last.bias.data.new_tensor(np.median(scores, axis=0))
    return lenets(model, (3, SIDE, SIDE), CLASSES)


@pytest.fixture(scope="session")
def bank() -> np.ndarray:
    return crops(24, seed=1)


@pytest.fixture(scope="session")
def pictures() -> np.ndarray:
    return crops(4)


@pytest.fixture(params=["pytorch", "tensorflow"])
def pictured(request, colour_models) -> tuple[Pictures, str]:
    """What holds a classifier of pictures in [0, 1], and its framework."""
    return Pictures(request.param, colour_models, 0.0, 1.0), request.param
