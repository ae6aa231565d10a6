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
from tests.helpers import FRAMEWORKS, ByFramework, make_classifier, to_framework


@pytest.fixture
def x(images):
    return images["test"][0][:5]


QUICK = {
    "sr": {"features": 4, "blocks": 1, "steps": 2, "seed": 0},
    "stl": {"n_crops": 16, "iterations": 10},
}
LEARN = ("nip", "sr", "stl")
# Importance masking makes a classifier: see test_importance_masking.
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
    found = ByFramework()
    for framework in FRAMEWORKS:
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


WRONG = [
    ("ss", "window_size", 0),
    ("cbdr", "bit_depth", 65),
    ("jpeg", "quality", 101),
    ("tvm", "prob", 1.5),
    ("tvm-art", "norm", 0),
    ("tvm-art", "lamb", -1),
    ("tvm-art", "solver", "BFGS"),
    ("fdistill", "qs", -1),
    ("sr", "steps", 0),
    ("sr", "weights", 3),
    ("stl", "lmbda", 0),
    ("anti-adversary", "step_size", 0),
    ("importance-masking", "keep", 1.5),
    ("importance-masking", "layer", 3),
    ("nip", "k1", -1),
]
NUMBERS = [
    (name, parameter)
    for name, parameter, value in WRONG
    if parameter not in ("solver", "weights", "layer")
]


@pytest.mark.parametrize(("name", "parameter", "value"), WRONG)
def test_wrong_values_are_refused_before_there_is_a_classifier(name, parameter, value):
    with pytest.raises(ValueError, match=parameter):
        defences.get(name).check_parameters({parameter: value})


@pytest.mark.parametrize("value", [np.nan, True, "3", None, [1]], ids=repr)
@pytest.mark.parametrize(("name", "parameter"), NUMBERS)
def test_what_is_no_number_is_refused(name, parameter, value, lenet):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    with pytest.raises((ValueError, TypeError), match=parameter):
        defences.get(name).create(classifier, **{parameter: value})


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("ss", {"window_size": np.int64(3)}),
        ("cbdr", {"bit_depth": np.uint8(3)}),
        ("jpeg", {"quality": np.int32(50)}),
        ("tvm", {"prob": np.float32(0.5), "seed": np.int64(3)}),
        ("tvm-art", {"lamb": np.float32(0.1), "max_iter": np.int64(2)}),
        ("fdistill", {"qs": np.float64(30)}),
        ("anti-adversary", {"steps": np.int64(1), "step_size": np.float32(0.1)}),
    ],
)
def test_numbers_of_numpy_are_numbers(name, parameters, lenet, digits):
    classifier, x = make_classifier("pytorch", lenet["pytorch"]), digits["test"][0][:3]
    plain = {each: value.item() for each, value in parameters.items()}
    found = []
    for given in (parameters, plain):
        with seeded(0):
            found.append(defences.get(name).create(classifier, **given)(x)[0])
    np.testing.assert_allclose(*found, atol=1e-6)


@pytest.mark.parametrize("given", ["JPEG", "Jpeg", "jpg"])
def test_names_in_another_case_are_answered_with_the_nearest(given):
    with pytest.raises(ValueError, match="Did you mean 'jpeg'"):
        defences.get(given)


@pytest.mark.parametrize("name", defences.NAMES)
def test_a_bare_model_is_refused_with_how_to_wrap_it(name, framework, lenet):
    message = rf"'{name}' takes a classifier of ART, and got .*: wrap it as art\.estimators"
    with pytest.raises(TypeError, match=message):
        defences.get(name).create(lenet[framework])


@pytest.mark.parametrize("name", defences.NAMES)
def test_a_family_is_what_a_defence_is_of(name, lenet):
    named = defences.get(name)
    assert isinstance(named.create(make_classifier("pytorch", lenet["pytorch"])), named.family)
    assert named.learns is (name in (*LEARN, "importance-masking"))


@pytest.mark.parametrize("name", ["cbdr", "jpeg", "fdistill", "sr"])
def test_defences_by_range_need_one(name, lenet):
    classifier = make_classifier("pytorch", lenet["pytorch"], clip_values=None)
    with pytest.raises(ValueError, match=r"needs the range of the images: .* its clip_values"):
        defences.get(name).create(classifier)


def test_bounds_for_each_channel_have_the_shape_of_an_image(lenet, digits):
    defence = defences.FeatureSqueezing(
        channels_first=True, clip_values=(np.zeros(3, np.float32), np.ones(3, np.float32))
    )
    with pytest.raises(ValueError, match=r"shape \(3,\), which does not .* shape \(C, 1, 1\)"):
        defence(digits["test"][0][:2])
