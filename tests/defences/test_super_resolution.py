"""Super-resolution: against scikit-image, Pillow and PyTorch, in both frameworks, and in ART."""

import copy
import pickle
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from sklearn.datasets import load_sample_images
from sklearn.exceptions import NotFittedError

from art_nip import defences, zoo
from art_nip.defences import edsr
from art_nip.defences.bicubic import resized
from art_nip.defences.edsr import training
from art_nip.defences.wavelets import bayes_shrink
from art_nip.testing import check_preprocessor
from art_nip.utils.arrays import to_numpy
from art_nip.utils.seeds import seeded
from tests.defences.helpers import ENDINGS
from tests.helpers import make_classifier, to_framework

NAMES = tuple(f"SuperResolution{ending}" for ending in ENDINGS)
TINY = {"features": 4, "blocks": 1, "steps": 2}


def make(name, **parameters):
    given = {"clip_values": (0, 1), "seed": 0, "verbose": False, **TINY, **parameters}
    return getattr(defences, name)(**given)


def crops(n, side=32):
    """Squares of two photographs, channels last."""
    rng, photographs = np.random.default_rng(0), load_sample_images().images
    corners = rng.integers(0, 390, (n, 2))
    cut = [photographs[k % 2][i : i + side, j : j + side] for k, (i, j) in enumerate(corners)]
    return np.stack(cut).astype(np.float32) / 255


def denoised(defence, x):
    """What its wavelets leave of images, channels last; channels first."""
    first = np.moveaxis(x, 3, 1).astype(np.float64)
    return to_numpy(defence._denoised(edsr.in_framework(first)))


@pytest.fixture(scope="module")
def photographs():
    return crops(40)


@pytest.fixture(scope="module")
def grey(photographs):
    return np.ascontiguousarray(photographs.mean(axis=3, keepdims=True)[:, :29, :31])


@pytest.fixture
def untrained(framework):
    """A LeNet-5 behind ART's classifier."""
    shape = (1, 28, 28) if framework == "pytorch" else (28, 28, 1)
    model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=10)
    return make_classifier(framework, model.eval() if framework == "pytorch" else model)


@pytest.fixture(scope="module")
def files(photographs, grey, tmp_path_factory):
    """Networks of some training, by their channels."""
    found = {}
    for x in (photographs, grey):
        defence = make("SuperResolution", steps=20)
        defence.fit(x)
        found[x.shape[3]] = tmp_path_factory.mktemp("sr") / f"{x.shape[3]}.safetensors"
        defence.save(found[x.shape[3]])
    return found


# Wavelets and resizing


@pytest.mark.parametrize("shape", [(32, 32), (33, 31), (2, 2), (17, 100), (96, 64)])
@pytest.mark.parametrize("sigma", [0.01, 0.04, 0.2])
def test_denoising_is_that_of_scikit_image(shape, sigma):
    restoration = pytest.importorskip("skimage.restoration")
    temple = load_sample_images().images[0].astype(float) / 255
    x = temple[100 : 100 + shape[0], 200 : 200 + shape[1]]
    grey = restoration.denoise_wavelet(x[..., 0], sigma=sigma)
    found = bayes_shrink(x[None, None, ..., 0], sigma)[0, 0]
    np.testing.assert_allclose(found, grey, atol=1e-12)
    colour = restoration.denoise_wavelet(x, sigma=sigma, convert2ycbcr=True, channel_axis=2)
    found = denoised(make("SuperResolution", sigma=sigma), x[None])[0].transpose(1, 2, 0)
    # scikit-image rounds the matrix.
    np.testing.assert_allclose(found, colour, atol=1e-6)


@given(st.integers(2, 40), st.integers(2, 40), st.floats(1e-3, 1), st.integers(0, 99))
@settings(max_examples=30)
def test_denoising_follows_scale_and_offset_and_never_adds_detail(height, width, sigma, seed):
    x = np.random.default_rng(seed).standard_normal((2, 1, height, width))
    denoised = bayes_shrink(x, sigma)
    np.testing.assert_allclose(bayes_shrink(3 * x + 5, 3 * sigma), 3 * denoised + 5, atol=1e-9)
    np.testing.assert_allclose(bayes_shrink(x, 0), x, atol=1e-12)
    np.testing.assert_allclose(bayes_shrink(x[1:], sigma), denoised[1:], atol=1e-12)
    if not (height % 2 or width % 2):
        assert denoised.var() <= x.var() + 1e-12


@pytest.mark.parametrize("shape", [(16, 10), (66, 40), (20, 31)])
def test_resizing_is_that_of_pillow_and_pytorch(shape):
    image, torch = pytest.importorskip("PIL.Image"), pytest.importorskip("torch")
    x = np.random.default_rng(0).random((2, 1, 33, 20), np.float32)
    found = resized(x, *shape)
    one = image.fromarray(x[0, 0]).resize(shape[::-1], image.Resampling.BICUBIC)
    np.testing.assert_allclose(found[0, 0], np.asarray(one), atol=1e-6)
    interpolated = torch.nn.functional.interpolate(
        torch.tensor(x), shape, mode="bicubic", antialias=True
    )
    np.testing.assert_allclose(found, interpolated.numpy(), atol=1e-5)


# The network


def test_the_network_is_edsr_on_top_of_repeated_pixels():
    """From PyTorch's own layers."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    sizes = edsr.shapes(3, features=5, blocks=2)
    weights = {k: torch.tensor(rng.normal(0, 0.2, s).astype(np.float32)) for k, s in sizes.items()}
    x = torch.rand(2, 3, 6, 7)

    def conv(x, name):
        return torch.nn.functional.conv2d(
            x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding="same"
        )

    features = head = conv(x - 0.5, "head")
    for block in range(2):
        features = features + conv(conv(features, f"body.{block}.0").relu(), f"body.{block}.1")
    features = conv(head + conv(features, "body.end"), "upsampler")
    expected = conv(torch.nn.PixelShuffle(2)(features), "tail")
    expected = expected + torch.nn.Upsample(scale_factor=2)(x)
    np.testing.assert_allclose(edsr.doubled(x, weights), expected, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_fit_trains_alike_in_each_framework(name, photographs):
    reference, defence = make("SuperResolutionPyTorch", steps=5), make(name, steps=5)
    reference.fit(photographs)
    defence.fit(photographs)
    np.testing.assert_allclose(defence.reached, reference.reached, atol=1e-3)
    np.testing.assert_allclose(defence(photographs)[0], reference(photographs)[0], atol=1e-3)


def test_fit_repeats_itself_with_a_seed(photographs):
    results = {}
    for seed in (3, 3, 4):
        defence = make("SuperResolution", seed=seed)
        with seeded(seed):
            defence.fit(photographs)
            drawn = np.random.random()  # noqa: NPY002
        with seeded(seed):
            assert drawn == np.random.random()  # noqa: NPY002 - fit drew nothing of it
        results.setdefault(seed, []).append(defence(photographs)[0])
    assert np.array_equal(*results[3])
    assert not np.array_equal(results[3][0], results[4][0])


def test_training_restores_detail_that_bicubic_interpolation_does_not(digits, capsys):
    x = digits["train"][0][:500]
    defence = make(
        "SuperResolution", channels_first=True, features=16, blocks=2, steps=150, verbose=True
    )
    defence.fit(x)
    reached = defence.reached
    assert reached.psnr > reached.bicubic + 2
    output = "".join(capsys.readouterr())
    assert "150/150" in output
    assert f"PSNR {reached.psnr:.2f} dB on 50 images" in output
    # Of the images that are kept apart, as the seed draws them.
    apart = x[np.random.default_rng(0).permutation(500)[:50]]
    restored = resized(resized(apart, 14, 14), 28, 28).clip(0, 1)
    expected = -10 * np.log10(((restored - apart) ** 2).mean(axis=(1, 2, 3))).mean()
    assert reached.bicubic == pytest.approx(expected, abs=1e-3)


def test_images_of_one_colour_have_a_finite_psnr():
    defence = make("SuperResolution")
    defence.fit(np.full((4, 8, 8, 3), 0.25, np.float32))
    assert defence.reached.bicubic == training.HIGHEST_PSNR
    assert 20 < defence.reached.psnr <= training.HIGHEST_PSNR


# The defence


@pytest.mark.parametrize("name", NAMES)
def test_they_are_sound_preprocessors(name, photographs, grey, files):
    if name == NAMES[0]:
        fitted = make(name, channels_first=True)
        x = np.ascontiguousarray(np.moveaxis(grey, 3, 1))
        fitted.fit(x)
        check_preprocessor(fitted, x[:2])
    check_preprocessor(make(name, weights=files[3]), photographs[:2])


def test_frameworks_and_orders_of_axes_agree(photographs, grey, files):
    for x in (photographs, grey):
        channels = x.shape[3]
        expected = make("SuperResolution", weights=files[channels])(x)[0]
        assert np.abs(expected - x).mean() > 1e-3
        for name in NAMES:
            found = make(name, weights=files[channels], channels_first=True, batch_size=7)(
                np.moveaxis(x, 3, 1)
            )[0]
            np.testing.assert_allclose(np.moveaxis(found, 1, 3), expected, atol=1e-5)


def test_the_three_steps(photographs, files):
    torch = pytest.importorskip("torch")
    defence = make("SuperResolution", weights=str(files[3]), sigma=0.04)
    weights = {name: torch.tensor(each) for name, each in defence._network().weights.items()}
    clean = torch.tensor(denoised(defence, photographs), dtype=torch.float32).clip(0, 1)
    large = edsr.doubled(clean, weights).numpy().clip(0, 1)
    assert large.shape == (40, 3, 64, 64)
    found = defence(photographs)[0].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, large[:, :, ::2, ::2], atol=1e-5)


def test_any_range(photographs, files):
    unit = make("SuperResolution", weights=files[3])(photographs)[0]
    wide = make("SuperResolution", weights=files[3], clip_values=(-100, 155))
    np.testing.assert_allclose(wide(255 * photographs - 100)[0], 255 * unit - 100, atol=0.01)


@pytest.mark.parametrize("name", NAMES[1:])
def test_the_gradient_passes_straight_through(name, photographs, files):
    defence = make(name, weights=files[3])
    x = photographs[:2]
    weights = np.random.default_rng(0).standard_normal(x.shape).astype(np.float32)
    if name.endswith("PyTorch"):
        import torch

        given = torch.tensor(x, requires_grad=True)
        (gradient,) = torch.autograd.grad(
            (defence.forward(given)[0] * torch.tensor(weights)).sum(), given
        )
    else:
        import tensorflow as tf

        given = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(given)
            total = tf.reduce_sum(defence.forward(given)[0] * weights)
        gradient = tape.gradient(total, given)
    np.testing.assert_array_equal(gradient.numpy(), weights)


def test_art_chains_it(untrained, framework, files, grey):
    name, first = NAMES[1 if framework == "pytorch" else 2], framework == "pytorch"
    defence = make(name, channels_first=first, weights=files[1])
    x = to_framework(np.ascontiguousarray(np.moveaxis(grey[:4, :28, :28], 3, 1)), framework)
    defended = make_classifier(
        framework, untrained.model, preprocessing_defences=[defence, defence]
    )
    expected = untrained.predict(defence(defence(x)[0])[0])
    np.testing.assert_allclose(defended.predict(x), expected, atol=1e-4)
    assert np.abs(defended.loss_gradient(x, np.eye(10)[:4])).max() > 0


# Its state


@pytest.mark.parametrize("name", NAMES)
def test_without_a_network_it_says_what_to_do(name, photographs):
    defence = make(name)
    assert defence.is_fitted is False
    for use in (lambda: defence(photographs), lambda: defence.reached, lambda: defence.save("x")):
        with pytest.raises(NotFittedError, match=r"fit\(x_benign\)"):
            use()


def test_a_failed_fit_keeps_the_network(photographs):
    defence = make("SuperResolution")
    defence.fit(photographs)
    expected = defence(photographs)[0]
    for wrong, message in (
        (photographs[:1], "given 1 images"),
        (255 * photographs, "outside the clip_values"),
        (photographs[:, :3], "3×32 pixels"),
        (photographs[..., :2], "2 channels"),
        (photographs * np.nan, "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            defence.fit(wrong)
    with pytest.raises(TypeError, match="nb_epochs"):
        defence.fit(photographs, nb_epochs=3)
    assert np.array_equal(defence(photographs)[0], expected)


def test_saved_networks_come_back_in_every_framework(photographs, files, tmp_path):
    defence = make(NAMES[-1])
    defence.fit(photographs)
    path = tmp_path / "network.safetensors"
    defence.save(path)
    for name in NAMES:
        other = getattr(defences, name).load(path)
        assert other.reached == defence.reached
        np.testing.assert_allclose(other(photographs)[0], defence(photographs)[0], atol=1e-5)
    # A file that is given as a parameter is not trained over, and takes the place of what was.
    given = make("SuperResolution", weights=path)
    given.fit(crops(5))
    np.testing.assert_allclose(given(photographs)[0], defence(photographs)[0], atol=1e-5)
    given.set_params(weights=files[3])
    expected = make("SuperResolution", weights=files[3])(photographs)[0]
    np.testing.assert_array_equal(given(photographs)[0], expected)


@pytest.mark.parametrize("name", NAMES)
def test_copies(name, photographs):
    defence = make(name)
    defence.fit(photographs)
    for other in (copy.deepcopy(defence), pickle.loads(pickle.dumps(defence))):
        assert np.array_equal(other(photographs)[0], defence(photographs)[0])
    assert repr(defence).startswith(f"{name}(sigma=0.04, weights=None, ")


def test_files_of_other_kinds_are_refused(tmp_path, files, photographs):
    absent, text, other = (tmp_path / name for name in ("absent", "text", "other"))
    text.write_text("hello")
    save_file({"head.weight": np.zeros((4, 3, 3, 3), np.float32)}, other)
    defence = make("SuperResolution", weights=files[3])
    for path, error, message in (
        (absent, FileNotFoundError, "no file"),
        (text, ValueError, "truncated"),
        (other, ValueError, "not one of SuperResolution"),
    ):
        with pytest.raises(error, match=message):
            make("SuperResolution", weights=path)
        with pytest.raises(error, match=message):
            defences.SuperResolution.load(path)
        with pytest.raises(error, match=message):
            defence.set_params(sigma=0.1, weights=path)
    assert (defence.sigma, defence.weights) == (0.04, files[3])
    defence(photographs)


def test_parameters_and_images_that_make_no_sense_are_refused(photographs, files):
    for name, wrong in (
        ("sigma", -1),
        ("sigma", None),
        ("features", 0),
        ("blocks", 1.5),
        ("steps", 0),
        ("seed", -1),
        ("clip_values", None),
        ("batch_size", 0),
    ):
        with pytest.raises(ValueError, match=f"{name}={wrong}"):
            make("SuperResolution", **{name: wrong})
    defence = make("SuperResolution", weights=files[3])
    with pytest.raises(ValueError, match="trained on images of 3"):
        defence(photographs[..., :1])
    with pytest.raises(ValueError, match="2 channels"):
        defence(photographs[..., :2])
    with pytest.raises(ValueError, match="32×3 pixels"):
        defence(photographs[:, :, :3])
    with pytest.raises(ValueError, match=r"takes \(N, H, W, C\)"):
        defence(photographs[0])


def test_without_a_framework_it_says_what_to_install(photographs, files, monkeypatch):
    monkeypatch.setattr("art_nip.utils.frameworks.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"art-nip\[pytorch\]"):
        make("SuperResolution", weights=files[3])(photographs)


def test_numpy_images_go_to_tensorflow_where_there_is_no_pytorch(photographs, files, monkeypatch):
    expected = make("SuperResolutionTensorFlowV2", weights=files[3])(photographs)[0]
    monkeypatch.setattr("art_nip.utils.frameworks.find_spec", lambda name: name == "tensorflow")
    found = make("SuperResolution", weights=files[3])(photographs)[0]
    assert "tensorflow" in sys.modules
    assert np.array_equal(found, expected)


# In the benchmark


def test_the_benchmark_knows_it_and_that_it_learns(untrained, framework, digits):
    from art_nip import defences as named
    from art_nip.benchmark.plan.defences import defence_entries

    (_, entry) = defence_entries(["sr"], untrained)
    assert entry.learns
    defence = named.get("sr").create(untrained, steps=2, features=4, blocks=1)
    assert type(defence).__name__ == NAMES[1 if framework == "pytorch" else 2]
    assert (defence.sigma, defence.verbose) == (0.04, False)
    x, y = digits["bank"][0][:20], digits["bank"][1][:20]
    x = to_framework(x, framework)
    defence.fit(x, y)
    assert defence(x)[0].shape == x.shape
