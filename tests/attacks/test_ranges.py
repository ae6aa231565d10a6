"""The same pictures give the same adversarial ones, whatever range the classifier takes them in."""

import warnings
from typing import Any

import numpy as np
import pytest

from art_nip import NIPPreprocessor, attacks
from art_nip.utils.ranges import PixelRange
from art_nip.utils.seeds import seeded
from tests.helpers import make_classifier, to_framework

RANGES: dict[str, tuple[Any, Any]] = {
    "bytes": (0, 255),
    "signed": (-1, 1),
    "standardised": (-2.118, 2.64),
    "channels": (np.array([-2.118, -2.036, -1.804]), np.array([2.249, 2.429, 2.64])),
}
QUICK: dict[str, dict[str, Any]] = {
    "fgsm": {"eps": 0.1},
    "bim": {"eps": 0.1, "max_iter": 4},
    "mifgsm": {"eps": 0.1, "max_iter": 4},
    "jsma": {"theta": 0.2},
    "pgd": {"eps": 0.1, "max_iter": 4},
    "deepfool": {"nb_grads": 3},
    "uap": {"eps": 0.3, "max_iter": 1},
    "pixel": {"th": 60, "max_iter": 1},
    "boundary": {"max_iter": 2, "sample_size": 3},
    "autoattack": {"eps": 0.1, "max_iter": 4, "max_queries": 8, "seed": 0},
    "autoattack-art": {"eps": 0.05, "max_iter": 3, "max_queries": 8},
    "square": {"eps": 0.05, "max_iter": 20},
    "cw": {"binary_search_steps": 1, "max_iter": 4, "learning_rate": 0.1},
    "hopskipjump": {"max_iter": 1, "max_eval": 30, "init_eval": 10},
    "eot": {"eps": 0.1, "max_iter": 4},
    "bpda": {"eps": 0.1, "max_iter": 4},
    "apgd": {"eps": 0.1, "max_iter": 4},
    "noise": {"eps": 0.1, "draws": 5},
    "steering": {"eps": 0.1, "eps_step": 0.03, "max_iter": 4},
}
SHAPE, CLASSES = (3, 8, 8), 4


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    """Smooth pictures of three channels, away from the ends of their range."""
    rng = np.random.default_rng(0)
    coarse = rng.random((24, 3, 4, 4), np.float32)
    return (0.2 + 0.6 * coarse.repeat(2, axis=2).repeat(2, axis=3)).astype(np.float32)


@pytest.fixture(scope="module")
def model(framework) -> Any:
    """A small convolutional model of pictures in [0, 1], with the same weights in both."""
    rng = np.random.default_rng(1)
    kernel = rng.normal(0, 1, (6, 3, 3, 3)).astype(np.float32)
    dense = rng.normal(0, 0.3, (CLASSES, 6 * 36)).astype(np.float32)
    if framework == "pytorch":
        import torch

        made = torch.nn.Sequential(
            torch.nn.Conv2d(3, 6, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(216, 4)
        )
        with torch.no_grad():
            made[0].weight.copy_(torch.from_numpy(kernel))
            made[0].bias.zero_()
            made[3].weight.copy_(torch.from_numpy(dense))
            made[3].bias.zero_()
        return made.eval()
    import keras

    layers = keras.layers
    made = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(6, 3, activation="tanh"),
            layers.Flatten(),
            layers.Dense(CLASSES),
        ]
    )
    there = dense.reshape(CLASSES, 6, 6, 6).transpose(0, 2, 3, 1).reshape(CLASSES, -1)
    made.set_weights([kernel.transpose(2, 3, 1, 0), np.zeros(6), there.T, np.zeros(CLASSES)])
    return made


def bounds(given: tuple[Any, Any], framework: str) -> tuple[Any, Any]:
    """Return clip values, those of channels along the axis of the channels of a framework."""
    shape = (3, 1, 1) if framework == "pytorch" else (1, 1, 3)
    return tuple(
        np.broadcast_to(bound.reshape(shape), shape).astype(np.float32)
        if isinstance(bound, np.ndarray)
        else float(bound)
        for bound in given
    )


def attacked(name: str, given: tuple[Any, Any], framework: str, model: Any, x: np.ndarray) -> Any:
    """Return the adversarial pictures, in [0, 1], that an attack makes in a range."""
    low, high = bounds(given, framework)
    scale = PixelRange.of((low, high))
    shape = SHAPE if framework == "pytorch" else (8, 8, 3)
    classifier = make_classifier(
        framework,
        model,
        shape,
        CLASSES,
        clip_values=(low, high),
        preprocessing=(np.squeeze(scale.low), np.squeeze(scale.span)),
    )
    pixels = scale.pixels(to_framework(x, framework)).astype(np.float32)
    if name == "steering":
        nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
        nip.fit(pixels)
        classifier = nip.attach(classifier)
    attack = attacks.get(name).create(classifier, **QUICK.get(name, {}))
    few = pixels[:4]
    before = few.copy()
    with seeded(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = attack.generate(few)
    np.testing.assert_array_equal(few, before)
    assert attack.estimator.clip_values is not None
    assert (found >= np.asarray(low) - 1e-5).all()
    assert (found <= np.asarray(high) + 1e-5).all()
    return scale.unit(found)


@pytest.mark.parametrize("name", attacks.NAMES)
def test_pictures_count_and_not_their_range(name, framework, model, pictures):
    if (name, framework) == ("autoattack", "tensorflow"):
        with pytest.raises(ValueError, match="models of PyTorch"):
            attacked(name, (0, 1), framework, model, pictures)
        return
    expected = attacked(name, (0, 1), framework, model, pictures)
    assert np.abs(expected - to_framework(pictures[:4], framework)).max() > 1e-3
    for label, given in RANGES.items():
        found = attacked(name, given, framework, model, pictures)
        # Where a gradient is zero but for rounding, its sign is anyone's.
        apart = np.abs(found - expected) > 1e-5
        assert apart.mean() <= 0.01, label
