"""The defences that ART lacks, on photographs and digits: known values, frameworks, and ART."""

import numpy as np
import pytest
from art.defences.preprocessor import TotalVarMin
from scipy.fft import dctn, idctn
from sklearn.datasets import load_sample_images

from art_nip import defences
from art_nip.data import mnist
from art_nip.testing import check_preprocessor
from tests.defences.helpers import ENDINGS
from tests.helpers import make_classifier

DISTILLATION = tuple(f"FeatureDistillation{ending}" for ending in ENDINGS)
VARIANCE = tuple(f"TotalVarianceMinimization{ending}" for ending in ENDINGS)
NATIVE = [name for name in DISTILLATION + VARIANCE if name.endswith(("PyTorch", "V2"))]


def make(name, **parameters):
    return getattr(defences, name)(**{"clip_values": (0, 1), **parameters})


@pytest.fixture(scope="module")
def photographs():
    """Crops of 32×30 of a temple and a flower, channels last: the width is not of whole blocks."""
    temple, flower = load_sample_images().images
    crops = (temple[100:132, 200:230], flower[200:232, 300:330], temple[300:332, 400:430])
    return np.stack(crops).astype(np.float32) / 255


@pytest.fixture(scope="module")
def grey():
    return mnist(channels_first=False)[0][::1000]


def grey_block(coefficients):
    """One 8×8 image from its DCT in units of grey levels; mean 128."""
    full = np.zeros((8, 8))
    full[0, 0] = 8 * 128
    for place, value in coefficients.items():
        full[place] += value
    return (idctn(full, norm="ortho") / 255).astype(np.float32)[None, :, :, None]


def dct(image):
    return dctn(image[0, :, :, 0].astype(float) * 255, norm="ortho")


def channels_first(x):
    return np.ascontiguousarray(np.moveaxis(x, -1, 1))


# Of all


@pytest.mark.parametrize("name", DISTILLATION + VARIANCE)
def test_they_are_sound_preprocessors(name, photographs, grey):
    parameters = {"seed": 0} if name in VARIANCE else {}
    check_preprocessor(make(name, **parameters), photographs)
    check_preprocessor(make(name, **parameters, channels_first=True), channels_first(grey))


@pytest.mark.parametrize("name", DISTILLATION + VARIANCE)
def test_the_order_of_axes_is_all_that_channels_first_changes(name, photographs):
    parameters = {"seed": 0} if name in VARIANCE else {}
    last = make(name, **parameters)(photographs)[0]
    first = make(name, channels_first=True, **parameters)(channels_first(photographs))[0]
    np.testing.assert_allclose(channels_first(last), first, atol=1e-5)


@pytest.mark.parametrize("names", [DISTILLATION, VARIANCE], ids=lambda names: names[0])
def test_frameworks_agree(names, photographs, grey):
    parameters = {"seed": 3} if names is VARIANCE else {}
    for x in (photographs, grey):
        numpy, *others = (make(name, **parameters)(x)[0] for name in names)
        assert np.abs(numpy - x).mean() > 1e-3
        for other in others:
            np.testing.assert_allclose(other, numpy, atol=1e-5)


@pytest.mark.parametrize("name", NATIVE)
def test_the_gradient_passes_straight_through(name, photographs):
    defence = make(name)
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
    np.testing.assert_array_equal(defence.estimate_gradient(photographs, weights), weights)


@pytest.mark.parametrize("family", [DISTILLATION, VARIANCE], ids=lambda names: names[0])
def test_art_chains_them(family, lenet, framework, digits):
    name = family[1 if framework == "pytorch" else 2]
    parameters = {"channels_first": framework == "pytorch"}
    parameters |= {"seed": 0, "prob": 0.5, "lamb": 0.03} if family is VARIANCE else {}
    first, second = make(name, **parameters), make(name, **parameters)
    plain = make_classifier(framework, lenet[framework])
    defended = make_classifier(framework, lenet[framework], preprocessing_defences=[first, second])
    x, y = digits["test"][0][:50], digits["test"][1][:50]
    x = x if framework == "pytorch" else np.moveaxis(x, 1, -1)
    expected = plain.predict(second(first(x)[0])[0])
    np.testing.assert_allclose(defended.predict(x), expected, atol=1e-3)
    assert (expected.argmax(1) == y).mean() > 0.8
    assert np.abs(defended.loss_gradient(x, np.eye(10)[y])).max() > 0


@pytest.mark.parametrize("name", DISTILLATION + VARIANCE)
def test_parameters_and_images_that_make_no_sense_are_refused(name, photographs):
    for wrong in ((1, 0), (0, np.inf), (0, 1, 2)):
        with pytest.raises(ValueError, match="clip_values="):
            make(name, clip_values=wrong)
    with pytest.raises(ValueError, match="channels_first='yes'"):
        make(name, channels_first="yes")
    with pytest.raises(ValueError, match="batch_size=0"):
        make(name, batch_size=0)
    defence = make(name)
    with pytest.raises(ValueError, match=r"Unknown parameter of .* 'sq'"):
        defence.set_params(sq=3)
    with pytest.raises(ValueError, match=r"takes \(N, H, W, C\)"):
        defence(photographs[0])
    with pytest.raises(ValueError, match="NaN"):
        defence(photographs * np.nan)
    with pytest.raises(TypeError, match="numbers"):
        defence(np.array([["a"]]))
    with pytest.raises(ValueError, match="channels_first=True"):
        make(name, channels_first=True)(photographs[:, :, :1])


def test_set_params_changes_all_or_nothing(photographs):
    defence = make("FeatureDistillation")
    with pytest.raises(ValueError, match="qs=-1"):
        defence.set_params(channels_first=True, qs=-1)
    assert (defence.channels_first, defence.qs) == (False, 50)
    defence.set_params(qs=10)
    np.testing.assert_array_equal(
        defence(photographs)[0], make("FeatureDistillation", qs=10)(photographs)[0]
    )
    assert repr(defence).startswith("FeatureDistillation(qs=10, ")


def test_without_clip_values_total_variance_keeps_any_range(photographs):
    wide = make("TotalVarianceMinimization", seed=0, clip_values=None)(255 * photographs - 100)[0]
    unit = make("TotalVarianceMinimization", seed=0)(photographs)[0]
    np.testing.assert_allclose(wide, 255 * unit - 100, atol=0.01)


# Feature distillation


@pytest.mark.parametrize("name", DISTILLATION)
@pytest.mark.parametrize("level", [0, 77, 255])
def test_a_constant_image_stays(name, level):
    x = np.full((2, 12, 9, 1), level / 255, np.float32)
    np.testing.assert_allclose(make(name)(x)[0], x, atol=1e-6)
    # The mean of a coloured block is rounded to an eighth of a level in each of Y, Cb and Cr.
    colour = np.broadcast_to(np.float32([level, 200, 30]) / 255, (1, 8, 8, 3))
    np.testing.assert_allclose(make(name)(colour)[0], colour, atol=2.8 / 16 / 255)


@pytest.mark.parametrize("name", DISTILLATION)
def test_high_frequencies_are_rounded_to_multiples_of_51(name):
    for place in ((0, 5), (7, 7), (3, 2)):
        for value, left in ((25, 0), (-25, 0), (26, 51), (-60, -51), (77, 102)):
            result = dct(make(name)(grey_block({place: value}))[0])
            expected = dct(grey_block({place: left}))
            np.testing.assert_allclose(result, expected, atol=1e-3)


@pytest.mark.parametrize("name", DISTILLATION)
def test_low_frequencies_are_rounded_to_whole_numbers(name):
    for place in ((0, 4), (2, 2), (1, 0)):
        for value, left in ((25.3, 25), (-25.6, -26), (0.4, 0)):
            result = dct(make(name)(grey_block({place: value}))[0])
            np.testing.assert_allclose(result, dct(grey_block({place: left})), atol=1e-3)


@pytest.mark.parametrize("shape", [(16, 24), (9, 31)])
def test_it_does_block_by_block_what_scipy_does(shape):
    temple = load_sample_images().images[0]
    x = temple[50 : 50 + shape[0], 60 : 60 + shape[1], :1].astype(np.float32)[None] / 255
    # Sums of whole numbers are often a tie, to be decided by the last bit.
    x = np.clip(x + np.random.default_rng(0).uniform(-0.002, 0.002, x.shape), 0, 1)
    x = x.astype(np.float32)
    height, width = (-(-side // 8) * 8 for side in shape)
    padded = np.pad(
        x[0, :, :, 0] * 255.0, ((0, height - shape[0]), (0, width - shape[1])), mode="edge"
    )
    steps = np.where(np.add.outer(range(8), range(8)) < 5, 1, 31)
    for i in range(0, height, 8):
        for j in range(0, width, 8):
            block = dctn(padded[i : i + 8, j : j + 8] - 128, norm="ortho")
            padded[i : i + 8, j : j + 8] = idctn(np.round(block / steps) * steps, norm="ortho")
    expected = np.clip((padded[: shape[0], : shape[1]] + 128) / 255, 0, 1)
    result = make("FeatureDistillation", qs=30)(x)[0][0, :, :, 0]
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_colours_are_those_of_jpeg():
    image = pytest.importorskip("PIL.Image")
    from art_nip.defences.feature_distillation import TO_YCBCR

    colours = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    ycbcr = np.asarray(image.fromarray(colours).convert("YCbCr"), float) - (0, 128, 128)
    np.testing.assert_allclose(colours @ TO_YCBCR.T, ycbcr, atol=1.01)


def test_what_it_cannot_take(photographs):
    with pytest.raises(ValueError, match="30×7 pixels, smaller than a block"):
        make("FeatureDistillation")(photographs[:, :30, :7])
    with pytest.raises(ValueError, match="2 channels"):
        make("FeatureDistillation")(photographs[..., :2])
    with pytest.raises(ValueError, match="clip_values=None"):
        make("FeatureDistillation", clip_values=None)
    for wrong in (-1, np.nan, "50", None):
        with pytest.raises(ValueError, match="qs="):
            make("FeatureDistillation", qs=wrong)


# Total variance minimization


def objectives(z, x, mask, lamb):
    """The objective of ART for each channel of one image, channels last."""
    return np.array(
        [
            TotalVarMin._loss_func(z[..., c].ravel(), x[..., c], mask[..., c], norm=2, lamb=lamb)
            for c in range(x.shape[-1])
        ]
    )


@pytest.mark.parametrize(("prob", "lamb"), [(0.5, 0.1), (0.3, 0.5), (0.5, 0.03)])
def test_the_objective_of_art_ends_lower(prob, lamb, photographs):
    ours = make("TotalVarianceMinimization", prob=prob, lamb=lamb, seed=1, clip_values=None)
    for x in photographs[:2].astype(np.float64):
        mask = ours._masks(1, 3, *x.shape[:2]).astype(int)
        art = TotalVarMin(prob=prob, lamb=lamb)._minimize(x, mask)
        long = TotalVarMin(prob=prob, lamb=lamb, max_iter=200)._minimize(x, mask)
        ours.set_params(max_iter=5)
        quick = objectives(ours(x[None])[0][0], x, mask, lamb)
        assert (quick < objectives(art, x, mask, lamb)).all()
        ours.set_params(max_iter=300)
        best = objectives(ours(x[None])[0][0], x, mask, lamb)
        assert (best < objectives(long, x, mask, lamb) + 1e-3).all()
        if (prob, lamb) == (0.5, 0.1):  # the parameters of the NIP paper
            assert (quick < 1.1 * best).all()


def test_the_minimum_agrees_with_a_solver_of_convex_problems(photographs):
    """L-BFGS on the smoothed objective with its true gradient, from SciPy."""
    torch = pytest.importorskip("torch")
    from scipy.optimize import minimize

    from art_nip.defences.total_variance import SMOOTHING, minimised
    from art_nip.utils.dct import dct_matrix

    x = photographs[0, :16, :16, 1].astype(np.float64)
    x = (x - x.min()) / np.ptp(x)
    mask = (np.random.default_rng(0).random(x.shape) < 0.5).astype(float)

    def objective(flat):
        z = torch.tensor(flat.reshape(x.shape), requires_grad=True)
        norms = [
            (torch.tensor(mask) * (z - torch.tensor(x)) ** 2).sum()[None],
            0.01 * (z.diff(dim=0) ** 2).sum(1),
            0.01 * (z.diff(dim=1) ** 2).sum(0),
        ]
        scales = (1, 0.1, 0.1)
        total = sum(
            scale * torch.sqrt(norm / scale**2 + SMOOTHING**2).sum()
            for norm, scale in zip(norms, scales, strict=True)
        )
        total.backward()
        return total.item(), z.grad.numpy().ravel()

    options = {"maxiter": 5000, "maxfun": 10000, "ftol": 1e-14, "gtol": 1e-9}
    expected = minimize(objective, x.ravel(), jac=True, method="L-BFGS-B", options=options)
    waves = (dct_matrix(16), dct_matrix(16))
    result = minimised(x[..., None], mask[..., None], 0.1, 300, waves)[..., 0]
    assert objective(result.ravel())[0] == pytest.approx(expected.fun, rel=1e-6)
    np.testing.assert_allclose(result, expected.x.reshape(x.shape), atol=1e-3)


@pytest.mark.parametrize("seed", [None, 7])
def test_the_mask_keeps_the_share_it_is_told(seed):
    mask = make("TotalVarianceMinimization", prob=0.3, seed=seed)._masks(20, 3, 32, 32)
    assert mask.shape == (32, 32, 60)
    assert set(np.unique(mask)) == {0, 1}
    assert mask[..., :3].mean() == pytest.approx(0.3, abs=0.03)
    same = [np.array_equal(mask[..., :3], mask[..., 3 * i : 3 * i + 3]) for i in range(1, 20)]
    assert same == [seed is not None] * 19


def test_without_a_seed_each_call_differs(photographs):
    defence = make("TotalVarianceMinimization", prob=0.5, lamb=0.1)
    first, second = defence(photographs)[0], defence(photographs)[0]
    assert (np.abs(first - second).mean((1, 2, 3)) > 1e-3).all()
    skip = [
        *("check_repeatable", "check_batch_of_one", "check_float64", "check_memory_layout"),
        *("check_forward", "check_params", "check_deepcopy", "check_pickle"),
    ]
    check_preprocessor(defence, photographs, skip=skip)


@pytest.mark.parametrize("prob", [0, 1])
def test_masks_of_all_or_nothing_and_flat_images(prob, photographs):
    x = np.concatenate([photographs, np.zeros_like(photographs), np.ones_like(photographs)])
    defence = make("TotalVarianceMinimization", prob=prob, lamb=0.1, seed=0, max_iter=50)
    result = defence(x)[0]
    assert np.isfinite(result).all()
    np.testing.assert_array_equal(result[3:], x[3:])


def test_what_total_variance_cannot_take(photographs):
    for name, wrong in (("prob", 1.5), ("lamb", 0), ("max_iter", 2.5), ("seed", -1)):
        with pytest.raises(ValueError, match=f"{name}={wrong}"):
            make("TotalVarianceMinimization", **{name: wrong})
    with pytest.raises(ValueError, match="a side of 1"):
        make("TotalVarianceMinimization")(photographs[:, :1])
