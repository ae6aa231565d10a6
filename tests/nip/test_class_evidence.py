"""Retrieval by class evidence: the steps that make the model say what the evidence says."""

import copy
from dataclasses import replace

import numpy as np
import pytest

from art_nip import NIPPreprocessor
from art_nip.estimators.pass_counting import counting
from art_nip.nip.retrieval.evidence.probabilities import lead
from art_nip.testing import check_preprocessor
from tests.helpers import make_classifier, on_device, to_framework
from tests.models import TINY_SHAPE, tiny, traces
from tests.nip.helpers import fitted_on, predictions, verdicts

# Looking at the model


@pytest.mark.parametrize("softmax", [False, True])
def test_the_gradient_of_a_lead_by_hand(framework, softmax):
    """log p_c − log p_r is z_c − z_r, so that a softmax behind the logits changes nothing."""
    shape = TINY_SHAPE[framework]
    classifier = make_classifier(framework, tiny(framework, softmax), shape, 2)
    adapter = NIPPreprocessor.for_estimator(classifier, k1=1, k2=1)._adapter
    x = np.linspace(0.1, 1, 20, dtype=np.float32).reshape(2, *shape)
    w = 2 * np.stack([np.arange(10) / 10, -np.arange(10) / 20])
    found = adapter.numpy(adapter.lead_gradient(adapter.tensor(x), np.array([1, 0])))
    np.testing.assert_allclose(found.reshape(2, 10), [w[1] - w[0], w[0] - w[1]], rtol=1e-3)
    logits, maps = adapter.logits_and_activations(adapter.tensor(x), ())
    expected = x.reshape(2, 10) @ w.T
    difference = np.diff(adapter.numpy(logits), axis=1)
    np.testing.assert_allclose(difference, np.diff(expected, axis=1), rtol=1e-3)
    assert maps == []


def test_the_rival_is_the_strongest_other_class(framework, lenet, images):
    adapter = NIPPreprocessor.for_estimator(make_classifier(framework, lenet[framework]))._adapter
    x = adapter.tensor(images["test"][0][:6])
    logits = adapter.numpy(adapter.logits_and_activations(x, ())[0])
    order = logits.argsort(1)
    top, second = adapter.lead_gradient(x, order[:, -1]), adapter.lead_gradient(x, order[:, -2])
    np.testing.assert_allclose(adapter.numpy(top), -adapter.numpy(second), atol=1e-5)
    expected = np.sort(logits, 1)[:, -1] - np.sort(logits, 1)[:, -2]
    np.testing.assert_allclose(lead(logits, order[:, -1]), expected)
    np.testing.assert_allclose(lead(logits, order[:, -2]), -expected)


def test_nothing_is_left_behind(framework, lenet, images, attacked):
    model = lenet[framework]
    if framework == "pytorch":
        model.train()
    before = traces(framework, model)
    nip = fitted_on(make_classifier(framework, model), tuple(part[:150] for part in images["bank"]))
    nip(attacked[0][:20])
    assert traces(framework, model) == before
    if framework == "pytorch":
        model.eval()


# What it does to images


def test_images_get_the_class_of_the_evidence(class_nip, classifier, attacked):
    x, y = attacked
    predicted, classes = verdicts(class_nip, x)
    assert np.array_equal(predicted, predictions(classifier, x))
    assert (predicted != y).mean() > 0.5
    defended = class_nip(x)[0]
    assert np.array_equal(predictions(classifier, defended), classes)
    logits = classifier.predict(defended)
    assert (lead(logits, classes)[predicted != classes] >= 1).all()
    # Those that the evidence has right, and it has most.
    assert (predictions(classifier, defended) == y).mean() > 0.6


def test_images_are_left_alone_where_the_evidence_agrees(class_nip, images):
    x = images["test"][0]
    predicted, classes = verdicts(class_nip, x)
    agreed = predicted == classes
    assert agreed.mean() > 0.85
    changed = (class_nip(x)[0] != x).any((1, 2, 3))
    assert np.array_equal(changed, ~agreed)


def test_there_is_no_candidate(class_nip, images):
    assert class_nip.retrieve(images["test"][0][:5]).tolist() == [-1] * 5


def test_steps_are_those_of_the_equation(class_nips, lenet, attacked_digits):
    """Once more from PyTorch's autograd, one image at a time."""
    import torch

    nip, model = class_nips["pytorch"], lenet["pytorch"]
    x = attacked_digits[0][:30]
    predicted, classes = verdicts(nip, x)
    taken = []
    for image, is_class, c in zip(x, predicted == classes, classes.tolist(), strict=True):
        image = on_device(image)[None]
        now, added = image.clone(), 0
        for step in range(0 if is_class else 40):
            now.requires_grad_()
            z = model(now)[0]
            ahead = z[c] - torch.cat([z[:c], z[c + 1 :]]).max()
            if ahead >= 1:
                taken.append(step)
                break
            (rho,) = torch.autograd.grad(ahead, now)
            added = added + 0.3 * now.detach().mean() * rho / (rho.max() - rho.min())
            now = (image + added).clip(0, 1)
        found = nip(image.numpy(force=True))[0]
        np.testing.assert_allclose(found, now.numpy(force=True), atol=1e-5)
    assert len(taken) > 10
    assert len(set(taken)) > 1


def test_steps_end(class_nip, classifier, attacked):
    x = attacked[0]
    predicted, classes = verdicts(class_nip, x)
    disputed = x[predicted != classes]
    nip = with_steps(class_nip, 1)
    one = nip(disputed)[0]
    adapter = class_nip._adapter
    rho = adapter.numpy(
        adapter.lead_gradient(adapter.tensor(disputed), classes[predicted != classes])
    )
    span = np.ptp(rho, axis=(1, 2, 3), keepdims=True)
    expected = disputed + 0.3 * disputed.mean((1, 2, 3), keepdims=True) * rho / span
    np.testing.assert_allclose(one, np.clip(expected, 0, 1), atol=1e-5)
    assert (predictions(classifier, one) != classes[predicted != classes]).any()


def with_parameters(nip, **parameters):
    """Return a NIP of the same fit with other parameters, on the same graphs of TensorFlow."""
    other = copy.copy(nip)
    other.set_params(**parameters)
    other._adopt(nip._fitted)
    return other


def with_steps(nip, steps):
    return with_parameters(nip, retrieval=replace(nip.retrieval, steps=steps))


def test_pytorch_and_tensorflow_agree(class_nips, attacked_digits):
    ours, theirs = class_nips["pytorch"], class_nips["tensorflow"]
    learned = ours._fitted.learned
    assert sorted(learned) == ["bias.0", "bias.1", "weights.0", "weights.1"]
    for name in ("bias.0", "bias.1"):
        np.testing.assert_allclose(learned[name], theirs._fitted.learned[name], atol=1e-3)
    x = attacked_digits[0]
    images = to_framework(x, "tensorflow")
    assert np.array_equal(verdicts(ours, x)[1], verdicts(theirs, images)[1])
    apart = np.abs(to_framework(ours(x)[0], "tensorflow") - theirs(images)[0])
    apart = apart.reshape(len(x), -1).max(axis=1)
    # Of a few, steps lead past a kink of the model on one side or the other.
    assert np.quantile(apart, 0.98) < 1e-4
    assert apart.max() < 0.02


def test_company_does_not_matter(class_nip, attacked):
    x = attacked[0][:60]
    order = np.random.default_rng(0).permutation(len(x))
    together = class_nip(x)[0]
    np.testing.assert_allclose(class_nip(x[order])[0], together[order], atol=1e-5)
    assert np.array_equal(class_nip(x)[0], together)


def test_strength_scales_what_is_added(class_nip, attacked):
    x = attacked[0][:40]
    whole = class_nip(x)[0]
    half = with_parameters(class_nip, strength=0.5)(x)[0]
    inside = (whole > 0) & (whole < 1)
    np.testing.assert_allclose(half[inside], ((x + whole) / 2)[inside], atol=1e-6)
    assert (np.abs(half - x) <= np.abs(whole - x) + 1e-6).all()
    assert np.array_equal(with_parameters(class_nip, strength=0)(x)[0], x)


def test_steps_stay_in_the_clip_range_that_is_set(class_nip, attacked):
    x = attacked[0][:40] * 0.8
    assert class_nip(x)[0].max() > 0.85
    assert with_parameters(class_nip, clip_values=(0, 0.8))(x)[0].max() <= np.float32(0.8)


def test_a_black_image_stays_black(class_nip, images):
    black = np.zeros_like(images["test"][0][:2])
    assert not class_nip(black)[0].any()


# What it costs


def test_agreement_costs_one_pass(class_nip, classifier, images, attacked):
    x = images["test"][0]
    predicted, classes = verdicts(class_nip, x)
    with counting(classifier) as passes:
        class_nip(x[predicted == classes])
    assert (passes.forward, passes.backward) == ((predicted == classes).sum(), 0)


def test_a_step_costs_a_pass_back_and_two_forwards(class_nip, classifier, attacked):
    x = attacked[0]
    predicted, classes = verdicts(class_nip, x)
    disputed = x[predicted != classes]
    nip = with_steps(class_nip, 1)
    with counting(classifier) as passes:
        nip(disputed)
    assert (passes.forward, passes.backward) == (3 * len(disputed), len(disputed))


# As a part of ART


def test_conformance(class_nip, attacked):
    check_preprocessor(class_nip, attacked[0][:4])


def test_a_saved_one_defends_alike(class_nip, classifier, attacked, tmp_path):
    class_nip.save(tmp_path / "nip.safetensors")
    loaded = NIPPreprocessor.load(tmp_path / "nip.safetensors", classifier)
    assert loaded.retrieval == class_nip.retrieval
    assert np.array_equal(loaded(attacked[0])[0], class_nip(attacked[0])[0])


def test_a_defended_classifier_has_the_class_of_the_evidence(class_nip, classifier, attacked):
    x = attacked[0]
    defended = class_nip.attach(classifier)
    assert np.array_equal(predictions(defended, x), verdicts(class_nip, x)[1])
    gradient = defended.loss_gradient(x[:4], np.eye(10)[attacked[1][:4]])
    assert np.isfinite(gradient).all()
    assert gradient.any()
