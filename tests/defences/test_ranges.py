"""The unit of images is no matter: one picture in any range comes out the same of every defence."""

import numpy as np
import pytest

from art_nip import defences
from tests.defences.helpers import LOOK_INSIDE, Pictures

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
RANGES = {
    "bytes": (0.0, 255.0),
    "symmetric": (-1.0, 1.0),
    "standardised": (-2.0, 2.5),
    "by channel": (-MEAN / STD, (1 - MEAN) / STD),
}
FRAMEWORKS = ("numpy", "pytorch", "tensorflow")
ONLY_PYTORCH = ("importance-masking",)


def cases():
    for name in defences.NAMES:
        for framework in FRAMEWORKS:
            sees = name not in LOOK_INSIDE or framework != "numpy"
            if sees and (name not in ONLY_PYTORCH or framework == "pytorch"):
                yield name, framework


@pytest.fixture(scope="module")
def of_unit(colour_models, bank, pictures):
    """What each defence makes of pictures in [0, 1]."""
    found = {}

    def get(name, framework):
        if (name, framework) not in found:
            unit = Pictures(framework, colour_models, 0.0, 1.0)
            found[name, framework] = unit.defended(name, bank, pictures)
        return found[name, framework]

    return get


@pytest.mark.parametrize("given", RANGES)
@pytest.mark.parametrize(("name", "framework"), [*cases()])
def test_the_range_of_images_is_no_matter(
    name, framework, given, colour_models, bank, pictures, of_unit
):
    expected = of_unit(name, framework)
    other = Pictures(framework, colour_models, *RANGES[given])
    found = other.defended(name, bank, pictures)
    assert np.abs(expected - pictures).max() > 1e-3 if found.ndim == 4 else found.std() > 1e-4
    # The sign of a gradient of nearly nothing may turn with the rounding of the image.
    tolerance = 1e-3 if name in ("sr", "stl", "tvm-art") else 1e-4
    off = np.abs(found - expected) > tolerance
    assert off.mean() <= (0.002 if name == "anti-adversary" else 0), np.abs(found - expected).max()
