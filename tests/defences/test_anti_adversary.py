"""The anti-adversary layer: against a plain loop, in ART, and as promised."""

import copy
import pickle

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import BlackBoxClassifier
from torch import nn

from art_nip import defences
from art_nip.defences import AntiAdversary, AntiAdversaryPyTorch, AntiAdversaryTensorFlowV2
from art_nip.estimators.pass_counting import counting
from art_nip.testing import check_preprocessor
from tests.helpers import FRAMEWORKS, ByFramework, make_classifier, on_device, to_framework

layer_for = AntiAdversary.for_estimator


def share_equal(found, expected):
    return np.mean(np.abs(found - expected) < 1e-5)


def plain_loop(model, x, steps, step_size, mean=0.0, std=1.0):
    """The paper's algorithm as its authors wrote it, in float64, with α in units of the images."""
    model = copy.deepcopy(model).double().eval()
    x = on_device(x).double()
    classes = model((x - mean) / std).argmax(1)
    move = torch.zeros_like(x)
    for _ in range(steps):
        moved = (x + move).requires_grad_()
        loss = nn.functional.cross_entropy(model((moved - mean) / std), classes)
        move = move - step_size * torch.autograd.grad(loss, moved)[0].sign()
    return (x + move).numpy(force=True)


# The anti-adversary layer: what it computes


@pytest.mark.parametrize(("steps", "step_size"), [(2, 0.15), (1, 0.03), (4, 0.05)])
@pytest.mark.parametrize("clip_values", [None, (0, 1)])
def test_it_is_the_papers_loop(lenet, digits, steps, step_size, clip_values):
    x = digits["test"][0][:40]
    classifier = make_classifier(
        "pytorch", lenet["pytorch"], preprocessing=(0.1, 2.0), clip_values=clip_values
    )
    found, _ = layer_for(classifier, steps=steps, step_size=step_size)(x)
    expected = plain_loop(lenet["pytorch"], x, steps, step_size, 0.1, 2.0)
    if clip_values:
        expected = expected.clip(*clip_values)
    # A sign of what is nearly 0 may differ with the precision.
    assert share_equal(found, expected) > 0.999
    assert np.abs(found - x).max() > 0.9 * step_size
    assert clip_values or found.min() < 0


def test_the_papers_parameters_are_the_default(classifier):
    layer = layer_for(classifier)
    assert (layer.steps, layer.step_size) == (2, 0.15)
    assert np.array_equal(layer.clip_values, (0, 1))


def test_the_benchmark_knows_it_by_name(classifier, images):
    x = images["test"][0][:5]
    named = defences.get("anti-adversary").create(classifier, step_size=0.05)
    assert np.array_equal(named(x)[0], layer_for(classifier, step_size=0.05)(x)[0])
    with pytest.raises(ValueError, match="Did you mean 'step_size'"):
        defences.get("anti-adversary").create(classifier, stepsize=0.05)


def test_frameworks_agree_from_equal_weights(lenet, digits):
    x = digits["test"][0][:60]
    found = ByFramework()
    for framework in FRAMEWORKS:
        classifier = make_classifier(framework, lenet[framework], preprocessing=(0.1, 0.3))
        found[framework] = layer_for(classifier)(to_framework(x, framework))[0]
    expected = to_framework(found["pytorch"], "tensorflow")
    assert share_equal(found["tensorflow"], expected) > 0.999


def test_the_classifier_gets_surer_of_what_it_said(classifier, images):
    x, y = images["test"]
    before = classifier.predict(x)
    after = classifier.predict(layer_for(classifier)(x)[0])
    assert np.mean(before.argmax(1) == after.argmax(1)) > 0.98
    assert np.mean(before.argmax(1) == y) > 0.85

    def lead(scores):
        first, second = np.sort(scores, axis=1)[:, ::-1][:, :2].T
        return first - second

    assert np.mean(lead(after) > lead(before)) > 0.99


def test_it_keeps_what_an_attack_achieved_without_it(classifier, images):
    """As its docstring says: it takes the predicted class for the true one."""
    x, y = images["test"][0][:50], images["test"][1][:50]
    attack = ProjectedGradientDescent(
        classifier, eps=0.3, eps_step=0.05, max_iter=10, verbose=False
    )
    adversarial = attack.generate(x, y)
    fooled = classifier.predict(adversarial).argmax(1) != y
    assert fooled.sum() > 20
    corrected = classifier.predict(layer_for(classifier)(adversarial)[0]).argmax(1) == y
    assert corrected[fooled].mean() < 0.1


def test_a_model_of_probabilities_is_one_of_logits(lenet, digits):
    x = digits["test"][0][:30]
    probabilities = nn.Sequential(lenet["pytorch"], nn.Softmax(dim=1)).eval()
    found = layer_for(make_classifier("pytorch", probabilities), step_size=0.05)(x)[0]
    expected = layer_for(make_classifier("pytorch", lenet["pytorch"]), step_size=0.05)(x)[0]
    # Of what rounds to the probability 1 only the rest, of less precision, is left.
    assert share_equal(found, expected) > 0.95


def test_a_model_sure_of_itself_still_says_where_to_go(framework, lenet, images):
    """The cross-entropy of float32 logits 50 times as large is 0, and its gradient with it."""

    class Sharper(nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return 50 * self.model(x)

    if framework == "tensorflow":
        import keras

        model = lenet[framework]
        sharper = keras.Model(model.inputs, 50 * model.outputs[0])
    else:
        sharper = Sharper(lenet[framework])
    x = images["test"][0][:20]
    found = layer_for(
        make_classifier(framework, sharper.eval() if framework == "pytorch" else sharper), steps=1
    )(x)[0]
    expected = layer_for(make_classifier(framework, lenet[framework]), steps=1)(x)[0]
    # Here only the runner-up counts, there all other classes.
    assert share_equal(np.sign(found - x), np.sign(expected - x)) > 0.8


def test_a_model_without_convolutions_will_do(digits):
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    x = digits["test"][0][:5]
    found = layer_for(make_classifier("pytorch", model, clip_values=None), step_size=0.1)(x)[0]
    assert share_equal(found, plain_loop(model, x, 2, 0.1)) > 0.999


# Its gradient


def test_the_gradient_is_exact_almost_everywhere(classifier, images):
    random = np.random.default_rng(0)
    # Black is where poolings are tied, and signs change at a touch.
    x = images["test"][0][:20]
    x = (0.05 + 0.9 * x + random.uniform(-0.05, 0.05, x.shape)).astype(np.float32)
    layer = layer_for(classifier, step_size=0.05)
    inside = layer.estimate_gradient(x, np.ones_like(x))
    assert set(np.unique(inside)) == {0, 1}
    step = 1e-5 * random.uniform(0.5, 1, x.shape).astype(np.float32)
    change = layer(x + step)[0] - layer(x)[0]
    assert np.mean(np.abs(change - step * inside) < 1e-6) > 0.97
    free = layer_for(classifier, step_size=0.05, clip_values=(-9, 9))
    assert (free.estimate_gradient(x, np.ones_like(x)) == 1).all()


def test_attacks_of_art_see_through_it(framework, lenet, classifier, images):
    x, y = images["test"][0][:20], np.eye(10)[images["test"][1][:20]]
    layer = layer_for(classifier, step_size=0.05)
    chained = make_classifier(framework, lenet[framework], preprocessing_defences=[layer])
    moved = layer(x)[0]
    np.testing.assert_allclose(chained.predict(x), classifier.predict(moved), atol=1e-4)
    expected = layer.estimate_gradient(x, classifier.loss_gradient(moved, y))
    np.testing.assert_allclose(chained.loss_gradient(x, y), expected, atol=1e-5)
    assert np.abs(expected).max() > 0


# As a part of ART


def test_it_is_a_sound_preprocessor(classifier, framework, images):
    layer = layer_for(classifier)
    kinds = {"pytorch": AntiAdversaryPyTorch, "tensorflow": AntiAdversaryTensorFlowV2}
    assert type(layer) is kinds[framework]
    check_preprocessor(layer, images["test"][0][:6])


def test_batches_and_copies_change_nothing(classifier, images):
    x = images["test"][0][:11]
    layer = layer_for(classifier)
    expected = layer(x)[0]
    layer.set_params(batch_size=4)
    copied = pickle.loads(pickle.dumps(layer))
    for each in (layer, copied, copy.deepcopy(layer)):
        assert each.batch_size == 4
        assert share_equal(each(x)[0], expected) > 0.999
        assert each.estimate_gradient(x, x).shape == x.shape


def test_what_it_costs(classifier, images):
    layer = layer_for(classifier, steps=3)
    with counting(classifier) as passes:
        layer(images["test"][0][:5])
    assert (passes.forward, passes.backward) == (4 * 5, 3 * 5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps=0"),
        ({"steps": 1.5}, "steps=1.5"),
        ({"step_size": 0}, "step_size=0"),
        ({"step_size": np.nan}, "step_size=nan"),
        ({"clip_values": (1, 0)}, "clip_values="),
        ({"batch_size": 0}, "batch_size=0"),
    ],
)
def test_parameters_that_make_no_sense_are_refused_whole(classifier, wrong, message):
    with pytest.raises(ValueError, match=message):
        layer_for(classifier, **wrong)
    layer = layer_for(classifier)
    before = repr(layer)
    with pytest.raises(ValueError, match=message):
        layer.set_params(**{"steps": 5, "step_size": 0.3, **wrong})
    assert repr(layer) == before


def test_images_that_do_not_fit_are_refused(classifier, images):
    layer = layer_for(classifier)
    x = images["test"][0][:2]
    for call in (layer, lambda x: layer.forward(layer._tensor(np.float32(x)))):
        with pytest.raises(ValueError, match="Images have shape"):
            call(x[:, :, :5])
    with pytest.raises(ValueError, match="NaN"):
        layer(x * np.nan)
    with pytest.raises(TypeError, match="numbers"):
        layer(np.array([["a"]]))


def test_a_black_box_is_refused():
    classifier = BlackBoxClassifier(lambda x: np.zeros((len(x), 10)), (1, 28, 28), 10)
    with pytest.raises(TypeError, match="needs a classifier whose layers and gradients it can see"):
        layer_for(classifier)
