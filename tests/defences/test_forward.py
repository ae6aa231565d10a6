"""What attacks hand to `forward`: images of NaN, other precisions and modes; whose arrays it is."""

import numpy as np
import pytest
import torch

from art_nip import defences
from art_nip.estimators.clones import defended
from art_nip.utils.seeds import seeded
from tests.defences.helpers import Pictures, keras_classifier, oriented
from tests.helpers import autocast, make_classifier, on_device

NATIVE = ("tvm", "fdistill", "sr", "stl", "anti-adversary")
IMAGE_DEFENCES = [n for n in defences.NAMES if n not in ("importance-masking", "nip")]


@pytest.fixture(scope="module")
def ready(colour_models, bank):
    """Defences by name and framework, fitted on pictures in [0, 1]."""
    made = {}

    def get(name, framework):
        if (name, framework) not in made:
            made[name, framework] = Pictures(framework, colour_models, 0.0, 1.0).named(name, bank)
        return made[name, framework]

    return get


def tensor(x, framework):
    if framework == "pytorch":
        return on_device(x)
    import tensorflow as tf

    return tf.constant(x)


def numpy(tensor):
    return tensor.numpy(force=True) if isinstance(tensor, torch.Tensor) else np.asarray(tensor)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", NATIVE)
def test_one_bad_image_is_lost_alone(name, bad, framework, ready, pictures):
    defence, x = ready(name, framework), oriented(pictures, framework)
    expected = defence(x)[0]
    spoilt = x.copy()
    spoilt[1, 0, 3, 1] = bad
    found = numpy(defence.forward(tensor(spoilt, framework))[0])
    assert np.isnan(found[1]).all()
    np.testing.assert_allclose(found[[0, 2, 3]], expected[[0, 2, 3]], atol=1e-5)
    with pytest.raises(ValueError, match="NaN or infinite"):
        defence(spoilt)


@pytest.mark.parametrize("estimator", ["pytorch", "tensorflow", "keras"])
@pytest.mark.parametrize("name", ["jpeg", "ss", "fdistill"])
def test_a_classifier_that_predicts_loses_one_bad_image_alone(
    name, estimator, colour_models, bank, pictures
):
    framework = "pytorch" if estimator == "pytorch" else "tensorflow"
    made = Pictures(framework, colour_models, 0.0, 1.0)
    if estimator == "keras":
        made.classifier = keras_classifier(made.classifier.model)
    classifier = defended(made.classifier, made.named(name, bank))
    x = oriented(pictures, framework)
    expected, spoilt = classifier.predict(x), x.copy()
    spoilt[1, 0, 3, 1] = np.nan
    found = classifier.predict(spoilt)
    np.testing.assert_allclose(found[[0, 2, 3]], expected[[0, 2, 3]], atol=1e-4)
    gradients = classifier.loss_gradient(spoilt, np.eye(4, dtype=np.float32))
    assert np.isfinite(gradients[[0, 2, 3]]).all()
    with pytest.raises(ValueError, match="NaN or infinite"):
        classifier.preprocessing_defences[0](spoilt)


@pytest.mark.parametrize("name", NATIVE)
def test_gradients_of_the_others_are_as_without_it(name, ready, pictures):
    defence, spoilt = ready(name, "pytorch"), on_device(oriented(pictures, "pytorch"))
    spoilt[1, 0, 3, 1] = np.nan
    gradients = []
    for x in (spoilt, spoilt[[0, 2, 3]]):
        x = x.clone().requires_grad_()
        result = defence.forward(x)[0]
        rows = [0, 2, 3] if len(x) == 4 else [0, 1, 2]
        gradients.append(torch.autograd.grad(result[rows].sum(), x)[0][rows])
    assert torch.equal(*gradients)


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16", "uint8"])
@pytest.mark.parametrize("name", NATIVE)
def test_any_precision(name, dtype, framework, ready, pictures):
    """The result has the precision of the images, for models of that precision."""
    defence, x = ready(name, framework), tensor(oriented(pictures, framework), framework)
    if framework == "pytorch":
        given = x.round().to(torch.uint8) if dtype == "uint8" else x.to(getattr(torch, dtype))
        single = given.float()
    else:
        import tensorflow as tf

        given = tf.cast(tf.round(x) if dtype == "uint8" else x, dtype)
        single = tf.cast(given, tf.float32)
    found, expected = defence.forward(given)[0], defence.forward(single)[0]
    returned = "float32" if dtype == "uint8" else dtype
    if framework == "pytorch":
        assert str(found.dtype) == f"torch.{returned}"
        assert torch.equal(found, expected.to(found.dtype))
    else:
        assert found.dtype.name == returned
        expected = tf.cast(tf.cast(expected, found.dtype), tf.float32)
        np.testing.assert_array_equal(tf.cast(found, tf.float32), expected)


@pytest.mark.parametrize("mode", ["inference", "no_grad", "autocast"])
@pytest.mark.parametrize("name", [*NATIVE, "sr of NumPy"])
def test_modes_of_pytorch_change_nothing(name, mode, ready, pictures):
    framework = "numpy" if name == "sr of NumPy" else "pytorch"
    defence, x = ready(name.split()[0], framework), oriented(pictures, framework)
    expected = defence(x)[0]
    modes = {
        "inference": torch.inference_mode(),
        "no_grad": torch.no_grad(),
        "autocast": autocast(),
    }
    with modes[mode]:
        found = defence(x)[0]
        forward = defence.forward(on_device(x))[0] if framework == "pytorch" else found
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(numpy(forward), expected, atol=1e-5)


@pytest.mark.parametrize("mode", [torch.inference_mode(), torch.autocast("cpu", torch.bfloat16)])
@pytest.mark.parametrize("framework", ["numpy", "pytorch"])
@pytest.mark.parametrize("name", ["sr", "stl"])
def test_fitting_too(name, framework, mode, colour_models, bank, ready, pictures):
    x = oriented(pictures, framework)
    with mode:
        fitted = Pictures(framework, colour_models, 0.0, 1.0).named(name, bank)
    np.testing.assert_allclose(fitted(x)[0], ready(name, framework)(x)[0], atol=1e-5)


@pytest.mark.parametrize("framework", ["numpy", "pytorch", "tensorflow"])
@pytest.mark.parametrize("name", IMAGE_DEFENCES)
def test_nothing_is_written_to_what_was_given(name, framework, colour_models, bank, pictures):
    if name == "anti-adversary" and framework == "numpy":
        framework = "pytorch"
    given = Pictures(framework, colour_models, 0.0, 1.0)
    defence = given.named(name, bank)
    x, y, gradient = given.of(pictures), np.arange(4), given.of(pictures[::-1])
    before = [array.copy() for array in (x, y, gradient)]
    with seeded(0):
        result = defence(x, y)[0]
        straight = defence.estimate_gradient(x, gradient)
        if defences.get(name).learns:
            defence.fit(x, y)
    for array, copy in zip((x, y, gradient), before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert not np.shares_memory(result, x)
    assert not np.shares_memory(straight, gradient)


class Writing(torch.nn.Module):
    """A model that scales its input in place, as many of users' own do."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x):
        return self.model(x.mul_(0.5)) if not x.requires_grad else self.model(x * 0.5)


def test_a_model_that_writes_to_its_input_spoils_nothing(colour_models, pictures):
    class Halving(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(x * 0.5)

    x = on_device(oriented(pictures, "pytorch"))
    kept, found = x.clone(), []
    for kind in (Writing, Halving):
        model = kind(colour_models["pytorch"]).eval()
        classifier = make_classifier("pytorch", model, (3, 32, 32), 4)
        layer = defences.AntiAdversary.for_estimator(classifier)
        found.append(layer.forward(x)[0])
        assert torch.equal(x, kept)
    assert torch.equal(*found)
