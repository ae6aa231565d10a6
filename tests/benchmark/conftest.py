"""Fixtures of the tests of the benchmark."""

import pytest

from art_nip import zoo
from art_nip.zoo import training
from art_nip.zoo.training import Recipe
from tests.benchmark.helpers import data
from tests.helpers import lenets


@pytest.fixture
def arrays(digits, framework):
    return data(digits, framework)


@pytest.fixture(scope="module")
def retrained(lenet, digits):
    """Another LeNet-5, trained on other images, in both frameworks."""
    training.seed_weights("pytorch", 1)
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    x, y = digits["train"]
    recipe = Recipe(epochs=2, batch_size=64, bfloat16=False)
    training.train(model, x[:1500], y[:1500], recipe, verbose=False)
    return lenets(model.eval(), (1, 28, 28))
