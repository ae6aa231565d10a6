"""The same model and the same pictures are defended alike, whatever unit the images are in."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from art_nip import NIPPreprocessor
from art_nip.nip import neurons
from art_nip.nip.retrieval import ClassEvidence, EstimatorEvidence, GradedViewEvidence
from art_nip.utils.ranges import PixelRange
from tests.helpers import make_classifier, to_framework

MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
RANGES = {
    "unit": (0.0, 1.0),
    "bytes": (0.0, 255.0),
    "around 0": (-1.0, 1.0),
    "standardised": (-0.1307 / 0.3081, (1 - 0.1307) / 0.3081),
    "standardised by channel": (-MEAN / STD, (1 - MEAN) / STD),
}
"""What black and white are, as numbers or for each channel."""

FINE = {"name": "JpegCompression", "quality": 90}
COARSE = {"name": "SpatialSmoothing", "window_size": 3}
GRADED = GradedViewEvidence([FINE, COARSE], budget=0.02)
RETRIEVALS = {
    "similarity": lambda other: "similarity",
    "nearest": lambda other: "nearest",
    "shallow evidence": lambda other: "class",
    "views": lambda other: ClassEvidence("views"),
    "graded views": lambda other: ClassEvidence(GRADED),
    "another classifier": lambda other: ClassEvidence(EstimatorEvidence(other)),
}
STEERED = set(RETRIEVALS) - {"similarity", "nearest"}


def colour_model(framework, lenet, mixture=(0.5, 0.3, 0.2)):
    """Return a model of coloured digits: LeNet-5 behind a mixture of the channels."""
    mixture = np.float32(mixture)
    if framework == "pytorch":
        import torch
        from torch import nn

        model = nn.Sequential(nn.Conv2d(3, 1, 1, bias=False), lenet[framework]).eval()
        with torch.no_grad():
            model[0].weight.copy_(torch.from_numpy(mixture).reshape(1, 3, 1, 1))
        return model
    import keras

    first = keras.layers.Conv2D(1, 1, use_bias=False)
    model = keras.Sequential([keras.Input((28, 28, 3)), first, lenet[framework]])
    first.set_weights([mixture.reshape(1, 1, 3, 1)])
    return model


def in_colour(x):
    """Return coloured pictures of 256 levels, in [0, 1], channels first."""
    tints = np.float32([1.0, 0.8, 0.5]).reshape(1, 3, 1, 1)
    return np.rint(x * tints * 255).astype(np.float32) / np.float32(255)


def bounds(name, framework):
    """Return black and white of a range, for the classifier and for its images."""
    ends = [np.asarray(end, np.float32) for end in RANGES[name]]
    return [
        end.reshape(3, 1, 1) if end.ndim and framework == "pytorch" else end for end in ends
    ], ends


@pytest.fixture(scope="module")
def defended(framework, lenet, digits, attacked_digits):
    """Defended pictures in units of their range, and gradients to these, by everything."""
    found = {}
    bank = in_colour(digits["bank"][0][:100])
    asked = in_colour(attacked_digits[0][:60])
    upstream = np.random.default_rng(0).normal(size=asked.shape).astype(np.float32)
    given, unit, gradient = (to_framework(x, framework) for x in (bank, asked, upstream))
    model = colour_model(framework, lenet)
    other_model = colour_model(framework, lenet, (0.1, 0.2, 0.1))
    for name in RANGES:
        (low, high), (mean, top) = bounds(name, framework)
        keywords = {"clip_values": (low, high), "preprocessing": (mean, top - mean)}
        pixels = PixelRange.of((low, high))
        classifier = make_classifier(framework, model, given.shape[1:], **keywords)
        other = make_classifier(framework, other_model, given.shape[1:], **keywords)
        nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
        for retrieval, choice in RETRIEVALS.items():
            nip.set_params(retrieval=choice(other))
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Early layers tell the class")
                nip.fit(pixels.pixels(given))
            x = pixels.pixels(unit)
            upward = gradient[:8] / pixels.span
            slope = nip.estimate_gradient(x[:8], upward) * pixels.span
            found[name, retrieval] = pixels.unit(nip(x)[0]), slope, unit
    return found


@pytest.mark.parametrize("retrieval", RETRIEVALS)
@pytest.mark.parametrize("name", [name for name in RANGES if name != "unit"])
def test_the_same_pictures_are_defended_alike(defended, name, retrieval):
    expected, expected_slope, unit = defended["unit", retrieval]
    found, slope, _ = defended[name, retrieval]
    changed = (np.abs(expected - unit) > 1e-3).any(axis=(1, 2, 3))
    assert changed.sum() >= 3
    apart = np.abs(found - expected).max(axis=(1, 2, 3))
    # Of a few, a step of many leads past a kink of the model on one side or on the other.
    alike = apart < (1e-3 if retrieval in STEERED else 1e-4)
    assert alike.mean() >= 0.95
    assert (alike & changed).sum() >= 0.9 * changed.sum()
    # Where nothing is clipped the slopes are alike too; at the ends rounding decides.
    same = np.isclose(slope, expected_slope, atol=0.01)[alike[:8]]
    assert same.mean() > 0.98


ranges = st.sampled_from([(0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), ([-2.0, -1.5], [2.0, 3.5])])
values = st.floats(0, 1, width=16)


@given(
    arrays(np.float32, (2, 3, 2), elements=st.floats(-0.5, 1.5, width=16)),
    arrays(np.float32, (2, 3, 2), elements=st.floats(-1, 1, width=16)),
    arrays(np.float32, (2, 3, 2), elements=st.floats(-1, 1, width=16)),
    st.floats(0, 2, width=16),
    ranges,
)
def test_the_gradient_is_that_of_autograd(unit, perturbation, gradient, strength, clip_values):
    import torch

    pixels = PixelRange.of(clip_values)
    on_torch = PixelRange.of(clip_values, torch.tensor)
    x = torch.from_numpy(pixels.pixels(unit)).requires_grad_()
    shifted = x.detach().numpy() + pixels.span * (
        strength * neurons.brightness(x.detach().numpy(), pixels) * perturbation
    )
    gradient = np.where(
        np.minimum(abs(shifted - pixels.low), abs(shifted - pixels.high)) < 1e-4, 0, gradient
    ).astype(np.float32)  # at the kinks either slope is right
    out = neurons.defended(x, torch.from_numpy(perturbation), strength, on_torch)
    (expected,) = torch.autograd.grad(out, x, torch.from_numpy(gradient))
    found = neurons.defended_gradient(x.detach().numpy(), perturbation, strength, pixels, gradient)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)


@given(
    arrays(np.float32, (2, 3, 2), elements=values), arrays(np.float32, (2, 3, 2), elements=values)
)
def test_equation_7_is_the_same_in_every_range(unit, perturbation):
    expected = neurons.defended(unit, perturbation, 1.0, PixelRange.of((0.0, 1.0)))
    for clip_values in ((-1.0, 1.0), (0.0, 255.0), ([-2.0, -1.5], [2.0, 3.5])):
        pixels = PixelRange.of(clip_values)
        found = neurons.defended(pixels.pixels(unit), perturbation, 1.0, pixels)
        np.testing.assert_allclose(pixels.unit(found), expected, atol=1e-6)


def test_an_image_that_nothing_is_added_to_keeps_its_bits():
    x = np.random.default_rng(0).uniform(-1.7, 2.3, (4, 3, 5)).astype(np.float32)
    found = neurons.defended(x, x * 0, 1.0, PixelRange.of((-1.7, 2.3)))
    assert np.array_equal(found, x)


@pytest.mark.parametrize("shape", [(3,), (2, 1, 1), (3, 28, 1, 1, 1)])
def test_a_range_of_another_shape_is_refused(lenet, shape):
    classifier = make_classifier("pytorch", lenet["pytorch"], clip_values=(0, 1))
    clip_values = np.zeros(shape), np.ones(shape)
    with pytest.raises(ValueError, match="do not broadcast to images of shape"):
        NIPPreprocessor.for_estimator(classifier, clip_values=clip_values)


def test_an_infinite_range_is_refused_at_fit(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    nip = NIPPreprocessor.for_estimator(classifier, clip_values=(-np.inf, np.inf))
    assert nip.influence(digits["test"][0][:2]).shape == (2, 256)
    with pytest.raises(ValueError, match="equation 7 needs a finite range"):
        nip.fit(*digits["bank"])


@pytest.mark.parametrize("of_batches", [False, True])
def test_images_of_0_to_1_in_a_range_of_0_to_255_are_told(lenet, digits, framework, of_batches):
    model = lenet[framework]
    estimator = make_classifier(framework, model, clip_values=(0, 255), preprocessing=(0, 255))
    nip = NIPPreprocessor.for_estimator(estimator, verbose=False)
    x = to_framework(digits["bank"][0][:20], framework)

    def fit(images):
        nip.fit([images[:10], images[10:]] if of_batches else images)

    with pytest.warns(UserWarning, match=r"from 0 to 1.* \(0, 255\).* all but black") as told:
        fit(x)
    assert told[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(x * 255)
        nip(np.zeros_like(x[:1]))
        nip((x[:2] > 0.5).astype(np.uint8))  # a picture that is dark indeed
        for other in ((-128, 127), (-np.inf, np.inf)):
            NIPPreprocessor.for_estimator(estimator, clip_values=other).influence(x)
        NIPPreprocessor.for_estimator(make_classifier(framework, model), verbose=False).fit(x)


def test_a_value_outside_the_range_of_its_channel_is_refused(lenet, framework):
    (low, high), (mean, top) = bounds("standardised by channel", framework)
    shape = (3, 28, 28) if framework == "pytorch" else (28, 28, 3)
    model = colour_model(framework, lenet)
    classifier = make_classifier(
        framework, model, shape, clip_values=(low, high), preprocessing=(mean, top - mean)
    )
    nip = NIPPreprocessor.for_estimator(classifier)
    x = np.broadcast_to(high, (2, *shape)).copy()
    assert nip.influence(x).shape[0] == 2
    # White of the third channel is more than white of the first.
    with pytest.raises(ValueError, match=r"outside the clip_values .* of their channels"):
        nip.influence(np.full((2, *shape), top.max()))
