"""The anti-adversary layer and importance masking: against plain loops, in ART, and as promised."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import BlackBoxClassifier
from torch import nn

from art_nip import defences
from art_nip.benchmark import Benchmark, Defence
from art_nip.benchmark.serialization import packed, unpacked
from art_nip.defences import (
    AntiAdversary,
    AntiAdversaryPyTorch,
    AntiAdversaryTensorFlowV2,
    ImportanceMasking,
)
from art_nip.defences.importance_masking import class_importance, masks
from art_nip.defences.importance_masking.pytorch import MaskedModule
from art_nip.estimators.clones import defended
from art_nip.estimators.layers import Layer
from art_nip.estimators.pass_counting import counting
from art_nip.estimators.pytorch import PyTorchAdapter
from art_nip.testing import check_preprocessor
from tests.helpers import make_classifier, to_framework

layer_for = AntiAdversary.for_estimator


def importance_masked(classifier, x, y, **parameters):
    transformer = ImportanceMasking(classifier, **parameters)
    transformer.fit(x, y)
    return transformer.get_classifier()


def share_equal(found, expected):
    return np.mean(np.abs(found - expected) < 1e-5)


def plain_loop(model, x, steps, step_size, mean=0.0, std=1.0):
    """The paper's algorithm as its authors wrote it, in float64, with α in units of the images."""
    model = copy.deepcopy(model).double().eval()
    x = torch.from_numpy(x).double()
    classes = model((x - mean) / std).argmax(1)
    move = torch.zeros_like(x)
    for _ in range(steps):
        moved = (x + move).requires_grad_()
        loss = nn.functional.cross_entropy(model((moved - mean) / std), classes)
        move = move - step_size * torch.autograd.grad(loss, moved)[0].sign()
    return (x + move).numpy()


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
    found = {}
    for framework in ("pytorch", "tensorflow"):
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
    with pytest.raises(TypeError, match="give a PyTorchClassifier"):
        importance_masked(classifier, np.zeros((1, 1, 28, 28)), [0])


# Importance masking


@pytest.fixture(scope="module")
def pooled(digits):
    """A small trained model whose head is one dense layer, as in a ResNet."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip
    x, y = map(torch.from_numpy, digits["train"])
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(4):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), y[batch]).backward()
            optimizer.step()
    model.zero_grad()
    return model.eval()


@pytest.fixture
def masked(pooled, digits):
    return importance_masked(make_classifier("pytorch", pooled), *digits["bank"], keep=0.2)


def by_hand(model, x, chosen):
    """Logits of the second pass, with the mask of the predicted class."""
    with torch.no_grad():
        neurons = model[:-1](torch.from_numpy(x))
        first = model[-1](neurons)
        return model[-1](neurons * torch.from_numpy(chosen)[first.argmax(1)]).numpy()


def test_importance_is_what_leaving_a_neuron_out_changes(pooled, digits):
    x, y = digits["bank"][0][:300], digits["bank"][1][:300]
    adapter = PyTorchAdapter(make_classifier("pytorch", pooled), "auto", "logit")
    found = class_importance(adapter, x, y, batch_size=70)
    with torch.no_grad():
        neurons = pooled[:-1](torch.from_numpy(x))
        logits = pooled[-1](neurons)
        right = logits.argmax(1).numpy() == y
        expected = np.zeros_like(found)
        for k in range(neurons.shape[1]):
            without = neurons.clone()
            without[:, k] = 0
            change = (logits - pooled[-1](without)).abs().numpy()
            for c in range(10):
                expected[c, k] = change[right & (y == c), c].mean()
    assert 250 < right.sum() < 300
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_masks_keep_the_most_important_neurons_of_each_class():
    importance = np.float32([[1, 5, 3, 2], [9, 0, 0, 8]])
    assert masks(importance, 0.5).tolist() == [[0, 1, 1, 0], [1, 0, 0, 1]]
    assert masks(importance, 0.01).tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert masks(importance, 1.0).tolist() == [[1] * 4] * 2


def test_the_second_pass_uses_the_mask_of_the_first(masked, pooled, digits):
    x = digits["test"][0]
    chosen = masked.model.masks.numpy()
    assert (chosen.sum(axis=1) == 26).all()
    expected = by_hand(pooled, x, chosen)
    found = masked.predict(x)
    # Where the first pass is torn between classes, it mixes their masks.
    close = np.abs(found - expected).max(axis=1) < 1e-2
    assert close.mean() > 0.95
    assert np.abs(found - make_classifier("pytorch", pooled).predict(x)).max() > 1


@pytest.mark.parametrize("layer", ["auto", "6:input", "5", "3"])
def test_with_all_neurons_it_is_the_model_as_it_was(layer, pooled, digits):
    classifier = make_classifier("pytorch", pooled, preprocessing=(0.2, 0.5))
    kept = importance_masked(classifier, *digits["bank"], layer=layer, keep=1)
    x = digits["test"][0][:20]
    np.testing.assert_allclose(kept.predict(x), classifier.predict(x), atol=1e-4)
    few = importance_masked(classifier, *digits["bank"], layer=layer, keep=0.1)
    assert np.abs(few.predict(x) - classifier.predict(x)).max() > 0.5


def test_benign_images_keep_their_class(masked, pooled, digits):
    x, y = digits["test"]
    bare = (make_classifier("pytorch", pooled).predict(x).argmax(1) == y).mean()
    assert bare > 0.85
    assert (masked.predict(x).argmax(1) == y).mean() > bare - 0.1


def test_gradients_go_through_both_passes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    chosen = np.eye(3, 6) + np.eye(3, 6, 3)
    module = MaskedModule(model, Layer("2", "input"), chosen, sharpness=1.0)
    assert torch.autograd.gradcheck(module, torch.randn(5, 4).double().requires_grad_())


def test_it_leaves_the_model_and_the_classifier_alone(pooled, digits):
    classifier = make_classifier("pytorch", pooled)
    pooled.train()
    pooled[1].eval()
    try:
        before = {name: value.clone() for name, value in pooled.state_dict().items()}
        masked = importance_masked(classifier, *digits["bank"])
        assert [each.training for each in pooled] == [True, False, True, True, True, True, True]
    finally:
        pooled.eval()
    masked.predict(digits["test"][0][:5])
    assert all(torch.equal(value, before[name]) for name, value in pooled.state_dict().items())
    assert all(not each._forward_pre_hooks and not each._forward_hooks for each in pooled.modules())
    assert all(parameter.grad is None for parameter in pooled.parameters())
    assert classifier.model is pooled


def test_both_passes_are_counted(masked, digits):
    x, y = digits["test"][0][:6], np.eye(10)[digits["test"][1][:6]]
    with counting(masked) as passes:
        masked.predict(x)
        assert (passes.forward, passes.backward) == (12, 0)
        masked.loss_gradient(x, y)
        assert (passes.forward, passes.backward) == (24, 12)


def test_it_keeps_the_classifiers_settings_and_travels(pooled, digits):
    classifier = make_classifier("pytorch", pooled, preprocessing=(0.2, 0.5))
    x = digits["test"][0][:10]
    with_defence = defended(classifier, layer_for(classifier, step_size=0.02))
    masked = importance_masked(with_defence, *digits["bank"], keep=0.3)
    alone = importance_masked(classifier, *digits["bank"], keep=0.3)
    moved = with_defence.preprocessing_defences[0](x)[0]
    np.testing.assert_allclose(masked.predict(x), alone.predict(moved), atol=1e-4)
    np.testing.assert_allclose(unpacked(packed(alone)).predict(x), alone.predict(x), atol=1e-6)


def test_the_benchmark_takes_both(masked, pooled, digits, tmp_path):
    classifier = make_classifier("pytorch", pooled)
    benchmark = Benchmark(
        classifier,
        attacks=["fgsm"],
        defences={
            "layer": "anti-adversary",
            "masked": masked,
            "by name": Defence("importance-masking", parameters={"keep": 0.2}),
        },
        threats=["oblivious", "adaptive"],
        store=tmp_path,
        verbose=False,
    )
    x, y = digits["test"][0][:30], digits["test"][1][:30]
    table = benchmark.run(x, y, digits["bank"])
    accuracy = table[(table.metric == "accuracy") & (table.attack == "benign")]
    found = dict(zip(accuracy.defence, accuracy.value, strict=False))
    assert found["masked"] == (masked.predict(x).argmax(1) == y).mean()
    assert found["layer"] == (classifier.predict(layer_for(classifier)(x)[0]).argmax(1) == y).mean()
    assert {"layer", "masked", "by name"} == set(table.defence[table.threat == "adaptive"]) - {
        "none"
    }
    # Masked with the same images and parameters.
    same = table.drop(columns=["seconds", "defence"])[table.metric != "seconds_per_image"]
    given, named = (same.loc[table.defence == each] for each in ("masked", "by name"))
    pd.testing.assert_frame_equal(given.reset_index(drop=True), named.reset_index(drop=True))


def test_it_refuses_what_it_cannot_mask_by(pooled, digits):
    classifier = make_classifier("pytorch", pooled)
    x, y = digits["bank"]
    for wrong, message in (
        ({"keep": 0}, "keep=0"),
        ({"keep": 1.5}, "keep=1.5"),
        ({"sharpness": -1}, "sharpness=-1"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"layer": "nowhere"}, "layer 'nowhere' is not in the model"),
    ):
        with pytest.raises(ValueError, match=message):
            importance_masked(classifier, x, y, **wrong)
    with pytest.raises(ValueError, match="No image of the classes 4"):
        importance_masked(classifier, x[y != 4], y[y != 4])
    with pytest.raises(ValueError, match="Labels have shape"):
        importance_masked(classifier, x, y[:3])
    with pytest.raises(ValueError, match="outside the clip_values"):
        importance_masked(classifier, x * 255, y)
    probabilities = nn.Sequential(*pooled, nn.Softmax(dim=1))
    with pytest.raises(ValueError, match="needs a model that gives logits"):
        importance_masked(make_classifier("pytorch", probabilities), x, y)
