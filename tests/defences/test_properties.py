"""What must hold of every defence of images for any sizes, layouts, batches and ranges."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from art_nip import defences
from tests.defences.helpers import QUICK, crops

FAMILIES = {
    "ss": defences.SpatialSmoothing,
    "cbdr": defences.FeatureSqueezing,
    "jpeg": defences.JpegCompression,
    "tvm": defences.TotalVarianceMinimization,
    "fdistill": defences.FeatureDistillation,
    "sr": defences.SuperResolution,
    "stl": defences.SparseTransformation,
}
SMALL = {"stl": {"filter_size": 4, "n_filters": 4}}


@pytest.fixture(scope="module", params=FAMILIES)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def maker(name):
    """Returns defences of a family, of any order and range, fitted alike, channels last."""
    parameters = {**QUICK.get(name, {}), **SMALL.get(name, {}), "clip_values": (0.0, 1.0)}
    fitted = {}

    def make(grey, **settings):
        if grey not in fitted:
            fitted[grey] = FAMILIES[name](**parameters)
            if defences.get(name).learns:
                fitted[grey].fit(crops(4)[..., :1] if grey else crops(4))
        defence = FAMILIES[name](**{**parameters, **settings})
        for learned in ("_learned", "_filters", "_is_fitted"):
            if learned in vars(fitted[grey]):
                setattr(defence, learned, getattr(fitted[grey], learned))
        return defence

    return make


@st.composite
def images(draw):
    """A batch of crops of photographs of any size from 8×8, grey or RGB, channels last."""
    height, width, n = (draw(st.integers(*ends)) for ends in ((8, 20), (8, 20), (1, 5)))
    x = crops(n, seed=draw(st.integers(0, 50)))[:, :height, :width]
    return x[..., :1] if draw(st.booleans()) else x


few = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])


@few
@given(x=images(), size=st.integers(1, 4))
def test_the_company_of_an_image_is_no_matter(name, maker, x, size):
    grey = x.shape[3] == 1
    together = maker(grey)(x)[0]
    np.testing.assert_allclose(maker(grey, batch_size=size)(x)[0], together, atol=1e-5)
    order = np.random.default_rng(0).permutation(len(x))
    np.testing.assert_allclose(maker(grey)(x[order])[0], together[order], atol=1e-5)


@few
@given(x=images(), layout=st.sampled_from(["F", "strided", "read-only", "double", "first"]))
def test_layout_and_order_of_axes_are_no_matter(name, maker, x, layout):
    grey = x.shape[3] == 1
    expected = maker(grey)(x)[0]
    if layout == "first":
        found = maker(grey, channels_first=True)(np.moveaxis(x, 3, 1))[0]
        np.testing.assert_allclose(np.moveaxis(found, 1, 3), expected, atol=1e-5)
        return
    given = {
        "F": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=2)[:, :, ::2],
        "read-only": x.copy(),
        "double": x.astype(np.float64),
    }[layout]
    given.setflags(write=False)
    found = maker(grey)(given)[0]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32


@few
@given(
    x=images(),
    low=st.floats(-300, 300, width=32),
    span=st.floats(0.5, 600, width=32),
)
def test_any_range_will_do(name, maker, x, low, span):
    # Of a range far from 0, float32 keeps too little of the images.
    assume(abs(low) < 20 * span)
    grey = x.shape[3] == 1
    expected = maker(grey)(x)[0]
    given = (low + span * x.astype(np.float64)).astype(np.float32)
    found = maker(grey, clip_values=(low, low + span))(given)[0]
    unit = (found.astype(np.float64) - low) / span
    np.testing.assert_allclose(unit, expected, atol=2e-3)
    assert found.min() >= np.float32(low)
    assert found.max() <= np.float32(low + span)
