"""Steps, starts and projections in balls; attacks in L2; gradients of one scale."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from art_nip import attacks
from art_nip.attacks.balls import drawn, lengths, unit_step, within_ball
from art_nip.attacks.gradient_estimators import of_one_scale
from art_nip.attacks.surrogates import led_by
from tests.models import smooth

SHAPE = (5, 2, 3, 3)


@given(st.floats(1e-3, 10), st.sampled_from([np.inf, 2]), st.integers(0, 2**31))
def test_what_is_drawn_and_projected_lies_in_the_ball(eps, norm, seed):
    rng = np.random.default_rng(seed)
    x = rng.random(SHAPE, np.float32)
    size = np.linalg.norm if norm == 2 else (lambda a, axis: np.abs(a).max(axis))
    for moved in (x + 3 * drawn(rng, SHAPE, eps, norm), rng.normal(0, 5, SHAPE).astype(np.float32)):
        found = within_ball(moved, x, eps, norm)
        assert found.dtype == np.float32
        assert (found >= 0).all()
        assert (found <= 1).all()
        assert (size((found - x).reshape(5, -1), axis=1) <= eps * (1 + 1e-5) + 1e-6).all()
    inside = drawn(rng, SHAPE, eps, norm)
    assert (size(inside.reshape(5, -1), axis=1) <= eps * (1 + 1e-5)).all()
    np.testing.assert_array_equal(within_ball(x, x, eps, norm), x)


def test_steps_are_of_size_one():
    direction = np.random.default_rng(0).normal(0, 1e-25, SHAPE).astype(np.float32)
    direction[0] = 0
    np.testing.assert_allclose(lengths(unit_step(direction, 2)).ravel(), [0, 1, 1, 1, 1], rtol=1e-5)
    np.testing.assert_array_equal(unit_step(direction, np.inf), np.sign(direction))


@pytest.mark.parametrize("name", ["noise", "steering", "eot", "apgd", "square", "fgsm"])
def test_attacks_in_l2_keep_to_it_and_get_somewhere(name, classifier, images):
    x, y = images["test"][0][:12], images["test"][1][:12]
    target = led_by(classifier, classifier) if name == "steering" else classifier
    given = {"eps": 3.0, "norm": 2}
    if name in ("eot", "apgd", "steering"):
        given |= {"eps_step": 1.0, "max_iter": 8}
    found = attacks.get(name).create(target, **given).generate(x, y)
    assert np.linalg.norm((found - x).reshape(12, -1), axis=1).max() <= 3 * (1 + 1e-5)
    if name != "noise":
        right = classifier.predict(x).argmax(1) == y
        assert (classifier.predict(found).argmax(1) == y).sum() < right.sum()


@pytest.mark.parametrize("name", ["noise", "steering"])
@pytest.mark.parametrize("norm", [1, 3, "l2"])
def test_other_norms_are_refused(name, norm, classifier):
    target = led_by(classifier, classifier)
    with pytest.raises(ValueError, match="norm="):
        attacks.get(name).create(target, eps=1.0, norm=norm)


def test_tiny_gradients_lead_as_far_as_large_ones(framework):
    """A sure classifier's gradients vanish when they are squared; those of one scale do not."""
    _, classifier = smooth(framework)
    x = np.random.default_rng(0).random((3, *classifier.input_shape), np.float32)
    y = np.eye(10, dtype=np.float32)[classifier.predict(x).argmax(1)]
    scaled = of_one_scale(classifier).loss_gradient(x, y)
    plain = classifier.loss_gradient(x, y)
    np.testing.assert_allclose(np.abs(scaled).max(axis=(1, 2, 3)), 1, rtol=1e-6)
    np.testing.assert_array_equal(np.sign(scaled), np.sign(plain))

    class Sure(type(classifier)):
        def loss_gradient(self, x, y, **keywords):
            return super().loss_gradient(x, y, **keywords) * np.float32(1e-28)

    classifier.__class__ = Sure
    for name in ("eot", "apgd"):
        attack = attacks.get(name).create(classifier, norm=2, eps=1.0, eps_step=0.5, max_iter=4)
        moved = attack.generate(x, y.argmax(1)) - x
        assert np.linalg.norm(moved.reshape(3, -1), axis=1).min() > 0.5
