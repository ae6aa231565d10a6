"""The benchmark's attacks: every name, in both frameworks, on bare and defended classifiers."""

import json
from typing import Any

import numpy as np
import pytest

from art_nip import attacks
from art_nip.estimators.single_precision import single_precision
from art_nip.metrics import l2_norm, linf_norm
from art_nip.utils.seeds import seeded
from tests.helpers import make_classifier

QUICK: dict[str, dict[str, Any]] = {
    "fgsm": {"eps": 0.3},
    "bim": {"eps": 0.3, "max_iter": 4},
    "mifgsm": {"eps": 0.3, "max_iter": 4},
    "jsma": {"theta": 1.0},
    "pgd": {"eps": 0.3, "max_iter": 4},
    "deepfool": {},
    "uap": {"eps": 0.8, "max_iter": 2},
    "auna": {},
    "pwa": {},
    "pixel": {"th": 400, "max_iter": 1},
    "boundary": {"max_iter": 3},
    "autoattack": {"eps": 0.3, "max_iter": 4, "max_queries": 10},
    "autoattack-art": {"eps": 0.2, "max_iter": 3, "nb_restarts": 1, "max_queries": 10},
    "square": {"eps": 0.3, "max_iter": 30},
    "cw": {"binary_search_steps": 1, "max_iter": 20, "learning_rate": 0.1},
    "hopskipjump": {"max_iter": 1, "max_eval": 50, "init_eval": 20},
    "eot": {"eps": 0.3, "eps_step": 0.1, "max_iter": 4},
    "bpda": {"eps": 0.3, "eps_step": 0.1, "max_iter": 4},
    "apgd": {"eps": 0.3, "eps_step": 0.3, "max_iter": 4},
    "noise": {"eps": 0.9, "draws": 5},
    "steering": {"eps": 0.3, "eps_step": 0.05, "max_iter": 10},
}
OF_ANY_CLASSIFIER = tuple(name for name in QUICK if name not in ("autoattack", "steering"))
N = 4


pytestmark = pytest.mark.usefixtures("quiet")


def attacked(name: str, classifier: Any, x: Any, y: Any, **parameters: Any) -> np.ndarray:
    attack = attacks.get(name).create(classifier, **{**QUICK[name], **parameters})
    with seeded(0):
        return attack.generate(x, y)


def classes(classifier: Any, x: np.ndarray) -> np.ndarray:
    return classifier.predict(x).argmax(axis=1)


def weights(classifier: Any) -> list[np.ndarray]:
    model = classifier.model
    if hasattr(model, "get_weights"):
        return model.get_weights()
    return [each.numpy(force=True).copy() for each in model.state_dict().values()]


def check_images(adversarial: np.ndarray, x: np.ndarray) -> None:
    assert adversarial.shape == x.shape
    assert adversarial.dtype == np.float32
    assert np.isfinite(adversarial).all()
    assert adversarial.min() >= -1e-6
    assert adversarial.max() <= 1 + 1e-6


def test_names():
    assert attacks.PAPER == (
        "fgsm", "bim", "mifgsm", "jsma", "pgd", "deepfool", "uap", "auna", "pwa", "pixel",
        "boundary",
    )  # fmt: skip
    assert set(attacks.NAMES) == {
        *attacks.PAPER, "autoattack", "autoattack-art", "square", "cw", "hopskipjump", "eot",
        "bpda", "apgd", "noise", "steering",
    }  # fmt: skip
    assert set(attacks.NAMES) == set(QUICK)


@pytest.mark.parametrize("name", attacks.NAMES)
def test_entry(name):
    attack = attacks.get(name)
    assert attack.name == name
    assert json.loads(json.dumps(attack.defaults)) == attack.defaults
    attack.check_parameters(attack.defaults)
    assert attack.per_image == (name != "uap")
    assert attack.limit is None or attack.limit >= 50


@pytest.mark.parametrize("name", OF_ANY_CLASSIFIER)
def test_attack(name, classifier, images, capsys):
    x, y = (part[:N] for part in images["test"])
    settings, before = vars(classifier).copy(), weights(classifier)
    given = x.copy()

    adversarial = attacked(name, classifier, x, y)

    check_images(adversarial, x)
    right = classes(classifier, x) == y
    assert right.sum() >= N - 1
    assert (classes(classifier, adversarial) != y)[right].any()
    np.testing.assert_array_equal(x, given)
    assert vars(classifier) == settings
    for now, then in zip(weights(classifier), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert "%|" not in capsys.readouterr().err
    # Labels in the other form, and the same seed.
    np.testing.assert_array_equal(adversarial, attacked(name, classifier, x, np.eye(10)[y]))


def test_autoattack_is_that_of_its_authors(lenet, digits):
    x, y = (part[:N] for part in digits["test"])
    classifier = make_classifier("pytorch", lenet["pytorch"])
    attack = attacks.get("autoattack").create(classifier, eps=0.3, max_iter=4, max_queries=10)
    assert isinstance(attack, attacks.AutoAttack)
    assert type(attack).__module__ == "art_nip.attacks.foreign.autoattack"
    found = attack.generate(x, y)
    check_images(found, x)
    assert linf_norm(x, found).max() <= 0.3 + 1e-5
    assert (classes(classifier, found) != y).all()
    other = make_classifier("tensorflow", lenet["tensorflow"])
    with pytest.raises(ValueError, match=r"'autoattack': .*models of PyTorch.*'autoattack-art'"):
        attacks.get("autoattack").create(other)


# One of each way to ask a classifier: losses, their gradients, those of classes, predictions.
VARIED = ("mifgsm", "pgd", "deepfool", "uap", "boundary", "autoattack-art", "cw", "hopskipjump")


@pytest.mark.parametrize("name", [*VARIED, "steering"])
def test_attack_goes_through_nip(name, classifier, images, nip):
    x, y = (part[:N] for part in images["test"])
    defended = nip.attach(classifier)
    adversarial = attacked(name, defended, x, y)
    check_images(adversarial, x)
    assert (classes(defended, adversarial) != y).any()


def numpy_defended(classifier: Any, defence: str) -> Any:
    from art.defences import preprocessor as art

    from art_nip.estimators.clones import defended

    channels_first = classifier.channels_first
    defences = {
        "squeezing": lambda: art.FeatureSqueezing((0, 1), bit_depth=8),
        "jpeg": lambda: art.JpegCompression((0, 1), 80, channels_first=channels_first),
    }
    return single_precision(defended(classifier, defences[defence]()))


def test_autoattack_goes_through_defences(lenet, digits, fitted_nips):
    x, y = (part[:N] for part in digits["test"])
    classifier = make_classifier("pytorch", lenet["pytorch"])
    for each in (fitted_nips["pytorch"].attach(classifier), numpy_defended(classifier, "jpeg")):
        found = attacked("autoattack", each, x, y)
        check_images(found, x)
        assert (classes(each, found) != y).any()


@pytest.mark.parametrize("name", VARIED)
def test_attack_goes_through_a_numpy_defence(name, classifier, images):
    x, y = (part[:N] for part in images["test"])
    defended = numpy_defended(classifier, "squeezing")
    adversarial = attacked(name, defended, x, y)
    check_images(adversarial, x)
    assert (classes(defended, adversarial) != y).any()


@pytest.mark.parametrize("name", ["deepfool", "uap", "square"])
def test_attack_shows_defences_nothing_but_images(name, classifier, images):
    x, y = (part[:2] for part in images["test"])
    # JpegCompression refuses values below 0, and tensors.
    check_images(attacked(name, numpy_defended(classifier, "jpeg"), x, y), x)


def test_sizes_are_shares_of_the_clip_range(lenet, digits):
    x, y = (part[:N] for part in digits["test"])
    model = lenet["pytorch"]
    bytes_ = make_classifier("pytorch", model, clip_values=(0, 255), preprocessing=(0, 255))
    shares = make_classifier("pytorch", model)
    for name in ("fgsm", "mifgsm", "deepfool", "jsma", "uap"):
        large = attacked(name, bytes_, 255 * x, y) / 255
        small = attacked(name, shares, x, y)
        np.testing.assert_allclose(l2_norm(x, large), l2_norm(x, small), rtol=0.02, err_msg=name)


def test_sizes_follow_eps(classifier, images):
    x, y = (part[:N] for part in images["test"])
    bim, uap = attacks.get("bim"), attacks.get("uap")
    assert bim.resolved({}) == bim.defaults
    assert uap.resolved({"eps": 0.1})["attacker_params"] == {"eps": pytest.approx(0.025)}
    assert bim.resolved({"eps": 0.2})["eps_step"] == pytest.approx(0.05)
    assert bim.resolved({"eps": 0.2, "eps_step": 0.01})["eps_step"] == 0.01
    adversarial = bim.create(classifier, eps=0.4).generate(x, y)
    assert linf_norm(x, adversarial) == pytest.approx(0.4, abs=1e-5)


def linear(framework: str, weight: np.ndarray, **keywords: Any) -> Any:
    """Return a classifier of 2×2 images whose scores are linear; `weight` has shape (4, C)."""
    if framework == "pytorch":
        import torch

        model: Any = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(4, weight.shape[1], bias=False)
        )
        with torch.no_grad():
            model[1].weight.copy_(torch.tensor(weight.T))
        shape = (1, 2, 2)
    else:
        import keras

        model = keras.Sequential(
            [
                keras.Input((2, 2, 1)),
                keras.layers.Flatten(),
                keras.layers.Dense(weight.shape[1], use_bias=False),
            ]
        )
        model.set_weights([weight])
        shape = (2, 2, 1)
    return make_classifier(framework, model, shape, weight.shape[1], **keywords)


@pytest.mark.parametrize("span", [1, 255])
def test_deepfool_takes_the_shortest_way_to_the_nearest_class(framework, span):
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(4, 12)).astype(np.float32)
    # With mean and standard deviation: ART's gradients on TensorFlow leave them out.
    classifier = linear(framework, weight, clip_values=(-span, span), preprocessing=(0.1, 0.3))
    x = span * rng.uniform(-0.1, 0.1, (20, *classifier.input_shape)).astype(np.float32)

    scores = (x.reshape(20, 4) - 0.1) / 0.3 @ weight
    label = scores.argmax(axis=1)
    gaps = scores[np.arange(20), label][:, None] - scores
    lengths = np.linalg.norm(weight[:, label].T[:, :, None] - weight, axis=1) / 0.3
    lengths[np.arange(20), label] = 1e-9
    gaps[np.arange(20), label] = 1
    shortest = (gaps / lengths).min(axis=1)

    adversarial = attacks.get("deepfool").create(classifier, nb_grads=12).generate(x)
    assert (classes(classifier, adversarial) != label).all()
    np.testing.assert_allclose(
        l2_norm(x, adversarial), 1.02 * (shortest + 1e-4 * 2 * span), rtol=1e-3
    )


def test_universal_perturbation_is_one_for_all(lenet, digits):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    x, y = digits["test"]
    attack = attacks.get("uap").create(classifier, eps=0.3)
    uap = attack.attack
    with seeded(0):
        adversarial = attack.generate(x, y)
        noise = np.random.choice([-0.3, 0.3], x[:1].shape).astype(np.float32)  # noqa: NPY002
    assert uap.noise.shape == noise.shape
    assert np.abs(uap.noise).max() <= 0.3 + 1e-6
    np.testing.assert_array_equal(adversarial, np.clip(x + uap.noise, 0, 1))
    fooled = (classes(classifier, adversarial) != y).mean()
    assert fooled > 2 * (classes(classifier, np.clip(x + noise, 0, 1)) != y).mean()


def test_attacks_within_show_no_bars(classifier, images, capsys):
    x, y = (part[:2] for part in images["test"])
    within = {"attacker": "pgd", "attacker_params": {"max_iter": 2}, "max_iter": 1}
    attacks.get("uap").create(classifier, **within).generate(x, y)
    assert capsys.readouterr() == ("", "")


def test_jsma_aims_at_the_runner_up(classifier, images):
    x, y = (part[:N] for part in images["test"])
    runner_up = classifier.predict(x).argsort(axis=1)[:, -2]
    reached = classes(classifier, attacked("jsma", classifier, x, y))
    moved = reached != classes(classifier, x)
    np.testing.assert_array_equal(reached[moved], runner_up[moved])


def test_pixels_are_those_of_art(classifier):
    from art.attacks.evasion import PixelAttack

    from art_nip.attacks import PixelAttack as Mended

    rng = np.random.default_rng(0)
    image = 255 * rng.random(classifier.input_shape, np.float32)
    # 40 pixels, many of them twice: (row, column, value) each.
    candidates = 40 * rng.random((5, 120))
    for some in (candidates, candidates[0]):
        np.testing.assert_array_equal(
            Mended(classifier, th=40)._perturb_image(some, image),
            PixelAttack(classifier, th=40)._perturb_image(some, image),
        )


def test_unknown_names():
    with pytest.raises(ValueError, match=r"no attack 'deepfol'.*nearest is 'deepfool'.*fgsm, bim"):
        attacks.get("deepfol")
    with pytest.raises(ValueError, match=r"'pgd' has no parameter 'step'.*nearest is 'eps_step'"):
        attacks.get("pgd").check_parameters({"step": 1})
    for name in ("targeted", "verbose", "estimator"):
        with pytest.raises(ValueError, match=f"no parameter '{name}'"):
            attacks.get("pgd").check_parameters([name])


def test_unusable_classifiers_and_values(framework, lenet, classifier):
    with pytest.raises(ValueError, match="no parameter 'epss'"):
        attacks.get("fgsm").create(classifier, epss=1)
    with pytest.raises(ValueError, match="eps"):
        attacks.get("pgd").create(classifier, eps=-1.0)
    boundless = make_classifier(framework, lenet[framework], clip_values=None)
    with pytest.raises(ValueError, match="no clip_values"):
        attacks.get("fgsm").create(boundless)
