"""The benchmark's defences by name: each works, in both frameworks and orders of axes."""

import numpy as np
import pytest
from art.defences.preprocessor import (
    FeatureSqueezing,
    JpegCompression,
    SpatialSmoothing,
    TotalVarMin,
)

from art_nip import NIPPreprocessor, defences
from art_nip.defences import FeatureDistillation, TotalVarianceMinimization
from art_nip.utils.seeds import seeded
from tests.helpers import make_classifier, to_framework


@pytest.fixture
def x(images):
    return images["test"][0][:5]


QUICK = {
    "sr": {"features": 4, "blocks": 1, "steps": 2, "seed": 0},
    "stl": {"n_crops": 16, "iterations": 10},
}
LEARN = ("nip", "sr", "stl")
# Importance masking becomes a classifier: see test_reactive_defences.
PREPROCESSORS = [name for name in defences.NAMES if name != "importance-masking"]


def ready(name, classifier, images, **parameters):
    defence = defences.get(name).create(classifier, **QUICK.get(name, {}), **parameters)
    if name in LEARN:
        defence.fit(images["bank"][0][:60], images["bank"][1][:60])
    return defence


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_each_changes_images_and_keeps_their_shape_and_range(name, classifier, images, x):
    with seeded(0):
        defended = np.asarray(ready(name, classifier, images)(x)[0])
    assert defended.shape == x.shape
    assert (defended.min() >= 0, defended.max() <= 1) == (True, True)
    assert not np.array_equal(defended, x)


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_each_defends_a_classifier_of_art(name, framework, classifier, lenet, images, x):
    from art_nip.estimators.single_precision import single_precision

    defence = ready(name, classifier, images)
    defended = single_precision(
        make_classifier(framework, lenet[framework], preprocessing_defences=defence)
    )
    y = np.eye(10)[images["test"][1][:5]]
    assert defended.predict(x).shape == (5, 10)
    assert np.abs(defended.loss_gradient(x, y)).max() > 0


@pytest.mark.parametrize("name", [name for name in PREPROCESSORS if name not in LEARN])
def test_both_orders_of_axes_give_the_same(name, lenet, digits):
    x = digits["test"][0][:4]
    found = {}
    for framework in ("pytorch", "tensorflow"):
        classifier = make_classifier(framework, lenet[framework])
        with seeded(3):
            found[framework] = defences.get(name).create(classifier)(to_framework(x, framework))[0]
    expected = to_framework(found["pytorch"], "tensorflow")
    np.testing.assert_allclose(found["tensorflow"], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ss", SpatialSmoothing(2, channels_first=True, clip_values=(0, 1))),
        ("cbdr", FeatureSqueezing((0, 1), bit_depth=5)),
        ("jpeg", JpegCompression((0, 1), quality=80, channels_first=True)),
        ("fdistill", FeatureDistillation(channels_first=True, clip_values=(0, 1))),
        (
            "tvm",
            TotalVarianceMinimization(prob=0.5, lamb=0.1, channels_first=True, clip_values=(0, 1)),
        ),
    ],
)
def test_the_papers_parameters(name, expected, digits):
    """With a classifier that is neither PyTorch's nor TensorFlow's: all are NumPy's then."""
    from art.estimators.classification import BlackBoxClassifier

    x = digits["test"][0][:4]
    classifier = BlackBoxClassifier(
        lambda x: np.zeros((len(x), 10)), (1, 28, 28), 10, clip_values=(0, 1)
    )
    defence = defences.get(name).create(classifier)
    assert isinstance(defence, defences.get(name).family)
    with seeded(1):
        found = defence(x)[0]
    with seeded(1):
        np.testing.assert_allclose(found, expected(x)[0], atol=1e-6)


def test_arts_tvm_takes_either_order(framework, classifier, x):
    """ART takes the last axis for the channels."""
    last = x if framework == "tensorflow" else np.ascontiguousarray(np.moveaxis(x, 1, -1))
    with seeded(1):
        found = defences.get("tvm-art").create(classifier)(x)[0]
    with seeded(1):
        expected = TotalVarMin(prob=0.5, lamb=0.1, clip_values=(0, 1))(last)[0]
    if framework == "pytorch":
        expected = np.moveaxis(expected, -1, 1)
    assert np.array_equal(found, expected)


def test_arts_tvm_treats_each_of_several_channels(digits):
    from torch import nn

    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 28 * 28, 10))
    classifier = make_classifier("pytorch", model, (3, 28, 28))
    x = digits["test"][0][:9].reshape(3, 3, 28, 28)
    with seeded(1):
        found = defences.get("tvm-art").create(classifier)(x)[0]
    with seeded(1):
        expected = TotalVarMin(prob=0.5, lamb=0.1, clip_values=(0, 1))(np.moveaxis(x, 1, -1))[0]
    assert np.array_equal(found, np.moveaxis(expected, -1, 1))


@pytest.mark.parametrize(
    ("name", "parameter", "weak", "strong"),
    [
        ("ss", "window_size", 3, 7),
        ("cbdr", "bit_depth", 7, 1),
        ("jpeg", "quality", 95, 5),
        ("tvm", "lamb", 0.01, 1.0),
        ("tvm-art", "lamb", 0.01, 1.0),
        ("fdistill", "qs", 20, 90),
        ("sr", "sigma", 0.0, 0.2),
        ("stl", "lmbda", 0.05, 0.5),
        ("nip", "strength", 0.1, 2.0),
    ],
)
def test_parameters_reach_the_defence(name, parameter, weak, strong, classifier, images, x):
    sizes = []
    for value in (weak, strong):
        defence = ready(name, classifier, images, **{parameter: value})
        with seeded(0):
            sizes.append(np.square(defence(x)[0] - x).mean())
    assert 1.2 * sizes[0] < sizes[1]


def test_named_ones_are_those_of_the_framework(framework, classifier):
    suffix = {"pytorch": "PyTorch", "tensorflow": "TensorFlowV2"}[framework]
    for name in ("tvm", "fdistill", "nip"):
        assert type(defences.get(name).create(classifier)).__name__.endswith(suffix)
    assert isinstance(defences.get("nip").create(classifier), NIPPreprocessor)


def test_unknown_names_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"Unknown defence 'jpg'\. Did you mean 'jpeg'\?"):
        defences.get("jpg")


@pytest.mark.parametrize("name", PREPROCESSORS)
def test_unknown_parameters_are_refused(name, classifier):
    with pytest.raises(ValueError, match=f"parameter of the defence '{name}' 'nonsense'"):
        defences.get(name).create(classifier, nonsense=1)


def test_the_nearest_parameter_is_named(classifier):
    with pytest.raises(ValueError, match=r"'qualty'\. Did you mean 'quality'"):
        defences.get("jpeg").create(classifier, qualty=3)


@pytest.mark.parametrize("name", ["channels_first", "clip_values", "apply_fit"])
def test_what_follows_from_the_classifier_is_no_parameter(name, classifier):
    with pytest.raises(ValueError, match=f"Unknown parameter.*'{name}'"):
        defences.get("ss").create(classifier, **{name: True})


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("cbdr", {"bit_depth": 0}), ("jpeg", {"quality": 0}), ("nip", {"k1": -1})],
)
def test_wrong_values_are_refused(name, parameters, classifier):
    with pytest.raises(ValueError):  # noqa: PT011 - of ART, or of NIP
        defences.get(name).create(classifier, **parameters)
