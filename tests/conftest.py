"""Real digits, one LeNet-5 trained on them, and that model behind ART's classifiers."""

import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# On GPUs, float32 is to mean float32, in the processes that tests start too.
os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
# Without it, cuBLAS refuses `torch.use_deterministic_algorithms`.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import numpy as np
import pytest
import torch
from hypothesis import settings

from art_nip import NIPPreprocessor, zoo
from art_nip.data import mnist, split
from art_nip.zoo import training
from art_nip.zoo.training import Recipe
from tests.helpers import (
    FRAMEWORKS,
    MISSING,
    ON_DEVICE,
    ByFramework,
    device,
    lenets,
    make_classifier,
    to_framework,
)

# They need a GPU, or a process that has the simulated device: `make test-device`.
collect_ignore = [] if ON_DEVICE else ["device"]

# The first example of a framework pays for its start.
settings.register_profile("art-nip", deadline=None)
settings.load_profile("art-nip")

# TF32 as docs/how-to/gpu.md says; and the same sums in the same order each time.
torch.backends.cudnn.allow_tf32 = False
torch.backends.cudnn.deterministic = True


@pytest.hookimpl(wrapper=True)
def _skipped_if_a_package_is_missing(item: Any) -> Iterator[None]:
    """Skip a test if it, or a fixture of it, imports one of the missing packages.

    Only imports of tests, and of scripts that they write, count: where art_nip or a library imports
    what is missing, the test fails.
    """
    try:
        return (yield)
    except ModuleNotFoundError as error:
        importing = Path(traceback.extract_tb(error.__traceback__)[-1].filename)
        of_tests = not {"art_nip", "site-packages"} & {*importing.parts}
        if error.name in MISSING and of_tests:
            pytest.skip(f"needs {error.name}, which is not installed")
        raise


pytest_runtest_setup = pytest_runtest_call = _skipped_if_a_package_is_missing


@pytest.fixture(scope="session")
def digits() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Disjoint parts of MNIST, channels first."""
    train, bank, test = split(*mnist(), sizes=(3000, 600, 200))
    return {"train": train, "bank": bank, "test": test}


@pytest.fixture(scope="session")
def lenet(digits) -> dict[str, Any]:
    """LeNet-5 with the same trained weights in all frameworks."""
    training.seed_weights("pytorch", 0)
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    recipe = Recipe(epochs=3, batch_size=64, bfloat16=False)
    training.train(model, *digits["train"], recipe, verbose=False)
    return lenets(model.to(device()).eval(), (1, 28, 28))


@pytest.fixture(scope="session", params=FRAMEWORKS)
def framework(request) -> str:
    return request.param


@pytest.fixture
def classifier(framework, lenet) -> Any:
    return make_classifier(framework, lenet[framework])


@pytest.fixture
def images(framework, digits) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The parts of MNIST in the axis order of the framework."""
    return {part: (to_framework(x, framework), y) for part, (x, y) in digits.items()}


@pytest.fixture(scope="session")
def fitted_nips(lenet, digits) -> dict[str, NIPPreprocessor]:
    fitted = ByFramework()
    for framework in FRAMEWORKS:
        nip = NIPPreprocessor.for_estimator(
            make_classifier(framework, lenet[framework]), verbose=False
        )
        x, y = digits["bank"]
        nip.fit(to_framework(x, framework), y)
        fitted[framework] = nip
    return fitted


@pytest.fixture
def nip(fitted_nips, framework) -> NIPPreprocessor:
    """A NIP fitted on the bank part; tests leave it as it is."""
    return fitted_nips[framework]
