"""What several tests of the method need: attacked digits, and a NIP with class evidence."""

import numpy as np
import pytest
from art.attacks.evasion import ProjectedGradientDescent

from tests.helpers import FRAMEWORKS, ByFramework, make_classifier, to_framework
from tests.nip.helpers import fitted


@pytest.fixture(scope="session")
def attacked_digits(lenet, digits) -> tuple[np.ndarray, np.ndarray]:
    """Digits attacked with PGD on the PyTorch model, channels first, and their labels."""
    x, y = digits["test"]
    attack = ProjectedGradientDescent(
        make_classifier("pytorch", lenet["pytorch"]),
        eps=0.15, eps_step=0.03, max_iter=10, verbose=False,
    )  # fmt: skip
    return attack.generate(x, y), y


@pytest.fixture
def attacked(attacked_digits, framework):
    x, y = attacked_digits
    return to_framework(x, framework), y


@pytest.fixture(scope="session")
def class_nips(lenet, digits):
    """A NIP with class evidence in each framework; tests leave them as they are."""
    x, y = digits["bank"]
    return ByFramework(
        {
            framework: fitted(
                make_classifier(framework, lenet[framework]), to_framework(x, framework), y, "class"
            )
            for framework in FRAMEWORKS
        }
    )


@pytest.fixture
def class_nip(class_nips, framework):
    return class_nips[framework]
