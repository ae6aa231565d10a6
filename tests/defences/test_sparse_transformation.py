"""STL on photographs and digits: sporco, optimality, closed forms, frameworks, learning, files."""

import pickle

import numpy as np
import pytest
from art.defences.preprocessor.preprocessor import Preprocessor
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from scipy.ndimage import correlate
from sklearn.datasets import load_sample_images
from sklearn.exceptions import NotFittedError

from art_nip import defences
from art_nip.benchmark.plan.defences import _learns
from art_nip.defences import SparseTransformation, sparse_coding
from art_nip.defences.sparse_coding import Spectra
from art_nip.testing import check_preprocessor
from art_nip.utils.files import reading
from art_nip.utils.seeds import seeded
from tests.defences.helpers import ENDINGS
from tests.helpers import make_classifier, to_framework

NAMES = tuple(f"SparseTransformation{ending}" for ending in ENDINGS)
QUICK = {"n_filters": 16, "filter_size": 6, "iterations": 15, "n_crops": 64}


def make(name="SparseTransformation", **parameters):
    chosen = {"clip_values": (0, 1), "seed": 0, "verbose": False, **parameters}
    return getattr(defences, name)(**chosen)


def with_filters(name, of, **parameters):
    """A defence that has the filters of another one."""
    return fitted_with(make(name, **parameters), of.filters)


def fitted_with(defence, filters):
    defence._adopt(filters)
    return defence


def channels_first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


def cut(n, height, width, seed):
    """Crops of a temple and a flower, channels last."""
    rng, images = np.random.default_rng(seed), load_sample_images().images
    corners = rng.integers((427 - height, 640 - width), size=(n, 2))
    crops = [images[k % 2][i : i + height, j : j + width] for k, (i, j) in enumerate(corners)]
    return np.stack(crops).astype(np.float32) / 255


@pytest.fixture(scope="module")
def photographs():
    """The height and the width are different, and so are odd and even."""
    return cut(3, 32, 29, seed=5)


@pytest.fixture(scope="module")
def grey(digits):
    return digits["test"][0][:3]


@pytest.fixture(scope="module")
def colour_fit():
    defence = make(**QUICK)
    defence.fit(cut(64, 32, 32, seed=0))
    return defence


@pytest.fixture(scope="module")
def grey_fit(digits):
    defence = make(**QUICK, channels_first=True)
    defence.fit(digits["train"][0][:64])
    return defence


@pytest.fixture(scope="module")
def paper_fit():
    """As many filters as the authors have, of their size."""
    defence = make(n_crops=64)
    defence.fit(cut(64, 32, 32, seed=0))
    return defence


# As an ART preprocessor


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_sound_preprocessor(name, photographs, grey, colour_fit, grey_fit):
    parameters = {**QUICK, "iterations": 4}
    check_preprocessor(with_filters(name, colour_fit, **parameters), photographs)
    check_preprocessor(with_filters(name, grey_fit, **parameters, channels_first=True), grey)


@pytest.mark.parametrize("name", NAMES)
def test_the_order_of_axes_is_all_that_channels_first_changes(name, photographs, colour_fit):
    last = with_filters(name, colour_fit, **QUICK)
    first = make(name, **QUICK, channels_first=True)
    first.fit(channels_first(cut(64, 32, 32, seed=0)))
    np.testing.assert_allclose(first.filters, last.filters, atol=1e-4)
    found = first(channels_first(photographs))[0]
    np.testing.assert_allclose(found, channels_first(last(photographs)[0]), atol=1e-4)


@pytest.mark.parametrize("kind", ["colour", "grey"])
def test_frameworks_agree(kind, photographs, grey, paper_fit, grey_fit):
    x, of, parameters = (
        (photographs, paper_fit, {})
        if kind == "colour"
        else (grey, grey_fit, {**QUICK, "channels_first": True})
    )
    numpy, *others = (with_filters(name, of, **parameters)(x)[0] for name in NAMES)
    assert np.abs(numpy - x).mean() > 5e-3
    for other in others:
        np.testing.assert_allclose(other, numpy, atol=1e-5)


def test_frameworks_learn_the_same(colour_fit):
    for name in NAMES[1:]:
        other = make(name, **QUICK)
        other.fit(cut(64, 32, 32, seed=0))
        np.testing.assert_allclose(other.filters, colour_fit.filters, atol=1e-4)


@pytest.mark.parametrize("name", NAMES[1:])
def test_the_gradient_passes_straight_through(name, photographs, colour_fit):
    defence = with_filters(name, colour_fit, **QUICK)
    weights = np.random.default_rng(0).standard_normal(photographs.shape).astype(np.float32)
    if name.endswith("PyTorch"):
        import torch

        x = torch.tensor(photographs, requires_grad=True)
        (gradient,) = torch.autograd.grad((defence.forward(x)[0] * torch.tensor(weights)).sum(), x)
    else:
        import tensorflow as tf

        x = tf.constant(photographs)
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(defence.forward(x)[0] * weights)
        gradient = tape.gradient(total, x)
    np.testing.assert_array_equal(gradient.numpy(), weights)


def test_art_chains_them(framework, lenet, digits, grey_fit):
    name = NAMES[1 if framework == "pytorch" else 2]
    parameters = {**QUICK, "channels_first": framework == "pytorch", "lmbda": 0.1}
    first, second = (with_filters(name, grey_fit, **parameters) for _ in range(2))
    plain = make_classifier(framework, lenet[framework])
    defended = make_classifier(framework, lenet[framework], preprocessing_defences=[first, second])
    x, y = to_framework(digits["test"][0][:40], framework), digits["test"][1][:40]
    expected = plain.predict(second(first(x)[0])[0])
    np.testing.assert_allclose(defended.predict(x), expected, atol=1e-3)
    assert (expected.argmax(1) == y).mean() > 0.8
    assert np.abs(defended.loss_gradient(x, np.eye(10)[y])).max() > 0


def test_a_benchmark_knows_that_it_learns():
    assert all(_learns(getattr(defences, name)) for name in NAMES)
    assert not _learns(Preprocessor)


def test_it_takes_noise_away(colour_fit):
    clean = cut(8, 32, 32, seed=9)
    noise = np.random.default_rng(0).normal(0, 0.1, clean.shape).astype(np.float32)
    rebuilt = with_filters("SparseTransformation", colour_fit, **QUICK)(clean + noise)[0]
    assert np.square(rebuilt - clean).mean() < 0.6 * np.square(noise).mean()


# The maths


def by_sporco(image, filters, lmbda):
    """What the authors' code does with their library, to convergence; images channels last."""
    from sporco import signal
    from sporco.admm import cbpdn

    low, details = signal.tikhonov_filter(image.astype(np.float64), 5, image.shape[0] // 2)
    options = {"MaxMainIter": 1500, "RelStopTol": 1e-5, "AuxVarObj": True}
    solver = cbpdn.ConvBPDN(
        filters.transpose(2, 3, 1, 0).astype(np.float64),
        details,
        lmbda,
        cbpdn.ConvBPDN.Options(options),
        dimK=0,
    )
    solver.solve()
    return low + solver.reconstruct().reshape(image.shape)


@pytest.mark.parametrize("lmbda", [0.1, 0.2, 0.3])
def test_sporco_agrees(lmbda, paper_fit):
    x = cut(2, 32, 32, seed=3)
    ours = with_filters("SparseTransformation", paper_fit, lmbda=lmbda, clip_values=None)
    expected = np.stack([by_sporco(image, ours.filters, lmbda) for image in x])
    np.testing.assert_allclose(ours(x)[0], expected, atol=0.002)


def test_sporco_agrees_on_grey_images(grey, grey_fit):
    # Of more contrast than photographs, and so of more iterations.
    parameters = {"iterations": 300, "channels_first": True, "clip_values": None}
    ours = with_filters("SparseTransformation", grey_fit, **parameters)
    expected = by_sporco(grey[0, 0, :, :, None], ours.filters, 0.2)
    np.testing.assert_allclose(ours(grey[:1])[0][0, 0], expected[..., 0], atol=0.002)


def test_the_codes_are_optimal(photographs, paper_fit):
    """The conditions of the lasso, with correlations that SciPy computes pixel by pixel."""
    x = channels_first(photographs[:1]) - photographs.mean()
    filters, lmbda = paper_fit.filters, 0.2
    spectra = Spectra.of(filters, 32, 29, sparse_coding.penalty(lmbda), np.asarray)
    codes = sparse_coding.coded(x, spectra, lmbda, 1000)[0]
    residual = (x - sparse_coding.synthesised(codes[None], spectra))[0]
    centre = (-4, -4)  # `correlate` aligns pixel K // 2 of a filter.
    slopes = np.stack(
        [
            sum(
                correlate(residual[c], each[c], mode="wrap", origin=centre)
                for c in range(len(residual))
            )
            for each in filters
        ]
    )
    assert 0.01 < (codes != 0).mean() < 0.2
    assert np.abs(slopes).max() < lmbda + 1e-3
    used = codes != 0
    np.testing.assert_allclose(slopes[used], lmbda * np.sign(codes[used]), atol=1e-3)


def test_with_one_pixel_for_a_filter_codes_are_shrunk_pixels(photographs):
    x = channels_first(photographs)[:, :1] - 0.4
    filters = np.zeros((1, 1, 3, 3), np.float32)
    filters[0, 0, 0, 0] = 1
    spectra = Spectra.of(filters, 32, 29, sparse_coding.penalty(0.1), np.asarray)
    expected = np.sign(x) * np.maximum(np.abs(x) - 0.1, 0)
    np.testing.assert_allclose(sparse_coding.coded(x, spectra, 0.1, 100), expected, atol=1e-5)


@given(st.integers(8, 20), st.integers(8, 20), st.floats(0, 20), st.integers(0, 99))
@settings(max_examples=30)
def test_the_smooth_part_is_a_minimum(height, width, smoothing, seed):
    x = np.random.default_rng(seed).random((2, 1, height, width), dtype=np.float32)
    low = make(smoothing=smoothing)._smooth(x).astype(np.float64)
    gradient = low - x
    for axis in (2, 3):
        differences = np.diff(low, axis=axis)
        edges = [(0, 0)] * 4
        edges[axis] = (1, 1)
        gradient -= smoothing * np.diff(np.pad(differences, edges), axis=axis)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_the_range_of_images_does_not_matter():
    x = cut(16, 32, 32, seed=0)
    unit, bytes_ = make(**QUICK), make(**QUICK, clip_values=(-100.0, 155.0))
    unit.fit(x)
    bytes_.fit(255 * x - 100)
    np.testing.assert_allclose(bytes_.filters, unit.filters, atol=1e-3)
    np.testing.assert_allclose(bytes_(255 * x - 100)[0], 255 * unit(x)[0] - 100, atol=0.2)


def test_without_clip_values_nothing_is_clipped(colour_fit):
    x = cut(4, 32, 32, seed=1) * 3
    wide = with_filters("SparseTransformation", colour_fit, **QUICK, clip_values=None)(x)[0]
    assert wide.max() > 2


# Learning


def objective(x, filters, lmbda=0.2):
    spectra = Spectra.of(filters, *x.shape[2:], sparse_coding.penalty(lmbda), np.asarray)
    codes = sparse_coding.coded(x, spectra, lmbda, 100)
    residual = x - sparse_coding.synthesised(codes, spectra)
    return (np.square(residual).sum() / 2 + lmbda * np.abs(codes).sum()) / len(x)


def normed(filters):
    return filters / np.sqrt(np.square(filters).sum((1, 2, 3), keepdims=True))


def test_filters_learned_are_better_on_other_images(paper_fit):
    longer = make(n_crops=128)
    longer.fit(cut(128, 32, 32, seed=0))
    first = sparse_coding.drawn(
        longer._stratified(channels_first(cut(128, 32, 32, seed=0)))[1],
        64,
        8,
        np.random.default_rng(0),
    )
    other = longer._stratified(channels_first(cut(8, 32, 32, seed=77)))[1]
    before, some, more = (objective(other, f) for f in (first, paper_fit.filters, longer.filters))
    assert more < some < 0.97 * before
    np.testing.assert_allclose(np.square(longer.filters).sum((1, 2, 3)), 1, atol=1e-5)


def test_the_filters_that_images_are_made_of_are_found_under_noise():
    rng = np.random.default_rng(0)
    true = rng.standard_normal((4, 3, 5, 5)).astype(np.float32)
    true = normed(true)
    codes = rng.laplace(0, 1, (96, 4, 16, 16)) * (rng.random((96, 4, 16, 16)) < 0.02)
    spectra = Spectra.of(true, 16, 16, 1.0, np.asarray)
    x = sparse_coding.synthesised(codes.astype(np.float32), spectra)
    first = normed(true + 0.2 * rng.standard_normal(true.shape, dtype=np.float32))
    assert (first * true).sum((1, 2, 3)).max() < 0.7
    batches = [x[start : start + 16] for start in range(0, 80, 16)] * 5
    found = sparse_coding.learned(batches, first, 0.1, np.asarray, np.asarray)
    assert (found * true).sum((1, 2, 3)).min() > 0.999
    assert objective(x[80:], found, 0.1) < 1.01 * objective(x[80:], true, 0.1)


def test_the_seed_decides_what_is_drawn(colour_fit):
    x = cut(64, 32, 32, seed=0)
    other = make(**QUICK, seed=1)
    other.fit(x)
    assert np.abs(other.filters - colour_fit.filters).max() > 0.1
    found = []
    for start in (4, 4, 5):
        unseeded = make(**{**QUICK, "n_crops": 16}, seed=None)
        with seeded(start):
            unseeded.fit(x)
        found.append(unseeded.filters)
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


def test_large_images_are_learned_from_in_crops_and_defended_whole():
    large = np.stack([image[:224, :224] for image in load_sample_images().images])
    large = large.astype(np.float32) / 255
    defence = make(**{**QUICK, "iterations": 5})
    defence.fit(large)
    assert defence.filters.shape == (16, 3, 6, 6)
    rebuilt = defence(large)[0]
    assert rebuilt.shape == large.shape
    assert 0.002 < np.abs(rebuilt - large).mean() < 0.05


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_flat_images_teach_nothing_and_stay(level, colour_fit):
    flat = np.full((4, 16, 16, 3), level, np.float32)
    defence = make(**QUICK)
    defence.fit(flat)
    assert np.isfinite(defence.filters).all()
    for fitted in (defence, with_filters("SparseTransformation", colour_fit, **QUICK)):
        np.testing.assert_allclose(fitted(flat)[0], flat, atol=1e-6)


@pytest.mark.parametrize("verbose", [True, False])
def test_fitting_shows_a_bar_or_not(verbose, capsys):
    make(**{**QUICK, "n_crops": 16}, verbose=verbose).fit(cut(2, 32, 32, seed=0))
    assert ("STL fit" in capsys.readouterr().err) == verbose


# What it cannot take


@pytest.mark.parametrize("name", NAMES)
def test_unfitted_it_says_what_to_do(name, photographs, tmp_path):
    defence = make(name)
    assert defence.is_fitted is False
    for call in (
        lambda: defence(photographs),
        lambda: defence.forward(defence._tensor(photographs)),
        lambda: defence.filters,
        lambda: defence.save(tmp_path / "none.safetensors"),
    ):
        with pytest.raises(NotFittedError, match=f"This {name} has no filters yet: call fit"):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("lmbda", 0),
        ("lmbda", np.nan),
        ("smoothing", -1),
        ("n_filters", 0),
        ("n_filters", 2.5),
        ("filter_size", 1),
        ("iterations", 0),
        ("n_crops", 0),
        ("seed", -1),
        ("verbose", "no"),
        ("clip_values", (1, 0)),
        ("channels_first", 1),
        ("batch_size", 0),
    ],
)
def test_parameters_that_make_no_sense_are_refused(parameter, value, colour_fit):
    with pytest.raises(ValueError, match=f"{parameter}="):
        make(**{parameter: value})
    defence = with_filters("SparseTransformation", colour_fit, **QUICK)
    before = repr(defence)
    with pytest.raises(ValueError, match=f"{parameter}="):
        defence.set_params(**{parameter: value})
    assert repr(defence) == before
    assert defence.is_fitted


def test_images_that_make_no_sense_are_refused(photographs, colour_fit):
    defence = with_filters("SparseTransformation", colour_fit, **QUICK)
    for act in (defence, defence.fit):
        with pytest.raises(ValueError, match="30×5 pixels, smaller than a filter of 6×6"):
            act(photographs[:, :30, :5])
        with pytest.raises(ValueError, match="NaN"):
            act(photographs * np.nan)
        with pytest.raises(ValueError, match=r"takes \(N, H, W, C\)"):
            act(photographs[0])
        with pytest.raises(TypeError, match="numbers"):
            act(np.array([["a"]]))
    with pytest.raises(
        ValueError, match=r"1 channels; this SparseTransformation was fitted on .* 3"
    ):
        defence(photographs[..., :1])
    with pytest.raises(ValueError, match="no image"):
        defence.fit(photographs[:0])
    with pytest.raises(TypeError, match="nb_epochs"):
        defence.fit(photographs, nb_epochs=3)
    np.testing.assert_array_equal(defence.filters, colour_fit.filters)


def test_the_fit_is_dropped_when_it_would_have_been_another(colour_fit):
    for parameter, value in (("lmbda", 0.3), ("n_filters", 8), ("seed", None), ("n_crops", 3)):
        defence = with_filters("SparseTransformation", colour_fit, **QUICK)
        defence.set_params(iterations=3, batch_size=2, channels_first=True, **{parameter: value})
        assert not defence.is_fitted
    defence = with_filters("SparseTransformation", colour_fit, **QUICK)
    defence.set_params(iterations=3, batch_size=2, channels_first=True, lmbda=0.2)
    assert defence.is_fitted


# Files


@pytest.mark.parametrize("name", NAMES)
def test_what_was_saved_comes_back_in_any_framework(name, photographs, colour_fit, tmp_path):
    saved = with_filters(
        "SparseTransformationPyTorch",
        colour_fit,
        **{**QUICK, "iterations": 7},
        clip_values=np.float32([0, 1]),  # as ART's classifiers hold them
        apply_fit=True,
    )
    saved.save(tmp_path / "stl.safetensors")
    loaded = getattr(defences, name).load(tmp_path / "stl.safetensors")
    assert type(loaded).__name__ == name
    assert (loaded.apply_fit, loaded.apply_predict, loaded.iterations) == (True, True, 7)
    np.testing.assert_array_equal(loaded.filters, saved.filters)
    for each in (loaded, pickle.loads(pickle.dumps(loaded))):
        np.testing.assert_allclose(each(photographs)[0], saved(photographs)[0], atol=1e-5)


def test_other_files_are_refused(colour_fit, tmp_path):
    path = tmp_path / "file.safetensors"
    with pytest.raises(FileNotFoundError):
        SparseTransformation.load(path)
    save_file({"filters": np.zeros(3, np.float32)}, path)
    with pytest.raises(ValueError, match="not one of SparseTransformation"):
        SparseTransformation.load(path)
    colour_fit.save(path)
    with reading(path, "") as file:
        header = file.metadata()
    for value in (0, 3e38):
        filters = np.array(colour_fit.filters)
        filters[1] = value
        save_file({"filters": filters}, path, header)
        with pytest.raises(ValueError, match="one of SparseTransformation: the filters have norms"):
            SparseTransformation.load(path)
    colour_fit.save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match="truncated"):
        SparseTransformation.load(path)
