"""The zoo's models are trained on a device as on the host."""

import copy

import numpy as np
import pytest

from art_nip import zoo
from art_nip.zoo import training
from art_nip.zoo.training import Recipe
from tests.device.helpers import DEVICE
from tests.helpers import SIMULATED

RECIPES = {
    "plain": (None, {}),
    "bfloat16": (None, {"bfloat16": True}),
    "adversarial": (None, {"adversarial": 8 / 255}),
    **{defence: (defence, {}) for defence in zoo.TRAINED_DEFENCES},
}


@pytest.mark.parametrize("kind", RECIPES)
def test_as_on_the_host(digits, kind):
    defence, keywords = RECIPES[kind]
    training.seed_weights("pytorch", 0)
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10, defence=defence)
    x, y = (part[:200] for part in digits["train"])
    recipe = Recipe(**{"epochs": 1, "batch_size": 20, "bfloat16": False, **keywords})
    weights = []
    for device in (DEVICE, "cpu"):
        trained = copy.deepcopy(model).to(device)
        training.train(trained, x, y, recipe, mean=0.1, std=0.9, verbose=False)
        assert all(weight.device.type in str(device) for weight in trained.parameters())
        weights.append(zoo.get_weights(trained))
    # Autocast changes nothing on the simulated device, and its range is that of training. AdamW
    # takes whole steps along gradients of nearly nothing, whose sign a GPU rounds otherwise.
    atol = 1e-4 if SIMULATED and kind != "bfloat16" else 0.05
    for name, values in weights[0].items():
        np.testing.assert_allclose(values, weights[1][name], atol=atol, err_msg=name)
        if kind != "bfloat16":
            assert np.median(np.abs(values - weights[1][name])) <= 1e-3, name
    before = zoo.get_weights(model)
    assert any(np.abs(values - before[name]).max() > 0.01 for name, values in weights[0].items())


def test_weights_are_written_to_models_on_a_device(pair):
    on_device, on_host = (copy.deepcopy(classifier.model) for classifier in pair)
    for to, given in ((on_device, on_host), (on_host, on_device)):
        zoo.set_weights(to, {name: 2 * each for name, each in zoo.get_weights(given).items()})
        for name, values in zoo.get_weights(to).items():
            np.testing.assert_array_equal(values, 2 * zoo.get_weights(given)[name])
