"""LeNet-5 on digits, in PyTorch alone: TensorFlow is not in the environment of `make test-tools`.

The libraries here need torchvision, which brings another PyTorch along than the ordinary tests
have; without it they are skipped, with that reason.
"""

from typing import Any

import numpy as np
import pytest

from art_nip import NIPPreprocessor, zoo
from art_nip.zoo import training
from art_nip.zoo.training import Recipe
from tests.helpers import make_classifier

REASON = "it comes with another PyTorch: it is run by make test-tools"


def library(name: str) -> Any:
    """Import a library, or skip the test file aloud."""
    return pytest.importorskip(name, reason=f"{name} needs torchvision, and {REASON}")


@pytest.fixture(scope="session")
def lenet(digits) -> dict[str, Any]:
    training.seed_weights("pytorch", 0)
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    recipe = Recipe(epochs=3, batch_size=64, bfloat16=False)
    training.train(model, *digits["train"], recipe, verbose=False)
    return {"pytorch": model.eval()}


@pytest.fixture(scope="session")
def fitted_nips(lenet, digits) -> dict[str, NIPPreprocessor]:
    nip = NIPPreprocessor.for_estimator(make_classifier("pytorch", lenet["pytorch"]), verbose=False)
    return {"pytorch": nip.fit(*digits["bank"]) or nip}


@pytest.fixture(scope="session")
def bare(lenet) -> Any:
    """The classifier without defences."""
    return make_classifier("pytorch", lenet["pytorch"])


@pytest.fixture
def few(digits) -> tuple[np.ndarray, np.ndarray]:
    return tuple(part[:100] for part in digits["test"])
