"""The same pictures give the same adversarial ones, however their numbers lie in memory."""

import warnings
from typing import Any

import numpy as np
import pytest

from art_nip import NIPPreprocessor, attacks
from art_nip.utils.seeds import seeded
from tests.attacks.test_ranges import CLASSES, QUICK, SHAPE, model, pictures  # noqa: F401
from tests.helpers import make_classifier, to_framework


def read_only(x: np.ndarray) -> np.ndarray:
    """Return a copy of doubles in Fortran's order that cannot be written to."""
    copy = np.asfortranarray(x, np.float64)
    copy.flags.writeable = False
    return copy


def strided(x: np.ndarray) -> np.ndarray:
    """Return a view with gaps, of swapped bytes."""
    return np.repeat(x, 2, axis=2).astype(">f4")[:, :, ::2]


@pytest.fixture(scope="module")
def victim(framework, model, pictures) -> Any:  # noqa: F811 - fixtures
    """Return a classifier of images in 0..255, defended by NIP for the attack made for it."""
    shape = SHAPE if framework == "pytorch" else (8, 8, 3)
    classifier = make_classifier(
        framework, model, shape, CLASSES, clip_values=(0.0, 255.0), preprocessing=(0.0, 255.0)
    )
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(to_framework(pictures, framework) * 255)
    return {False: classifier, True: nip.attach(classifier)}


@pytest.mark.parametrize("name", attacks.NAMES)
def test_pictures_count_and_not_their_layout(name, framework, victim, pictures):  # noqa: F811
    if (name, framework) == ("autoattack", "tensorflow"):
        pytest.skip("AutoAttack's authors wrote it for PyTorch")
    x = np.rint(to_framework(pictures[:4], framework) * 255)
    found = []
    for given in (x.copy(), x.astype(np.uint8), read_only(x), strided(x), x.tolist()):
        before = np.array(given)
        with seeded(0), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attack = attacks.get(name).create(victim[name == "steering"], **QUICK.get(name, {}))
            found.append(attack.generate(given))
        np.testing.assert_array_equal(given, before)
        assert found[-1].dtype == np.float32
        np.testing.assert_allclose(found[-1], found[0], atol=2e-3)
    assert np.abs(found[0] - x).max() > 0.1
