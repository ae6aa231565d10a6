"""Importance masking: against loops by hand, as a transformer of ART, and in the benchmark."""

import copy
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from art.defences.transformer.transformer import Transformer
from art.estimators.classification import BlackBoxClassifier
from sklearn.exceptions import NotFittedError
from torch import nn

from art_nip import defences
from art_nip.benchmark import Benchmark, Defence
from art_nip.benchmark.plan.serialization import packed, unpacked
from art_nip.defences import AntiAdversary, ImportanceMasking
from art_nip.defences.importance_masking import class_importance, masks
from art_nip.defences.importance_masking.pytorch import MaskedModule
from art_nip.estimators.clones import defended
from art_nip.estimators.layers import Layer
from art_nip.estimators.pass_counting import counting
from art_nip.estimators.pytorch import PyTorchAdapter
from tests.helpers import make_classifier, on_device

layer_for = AntiAdversary.for_estimator


def masked_by(classifier, bank, **parameters):
    """Return the defended classifier."""
    transformer = ImportanceMasking(classifier, **parameters)
    transformer.fit(*bank)
    return transformer.get_classifier()


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
    return masked_by(make_classifier("pytorch", pooled), digits["bank"], keep=0.2)


def by_hand(model, x, chosen):
    """Logits of the second pass, with the mask of the predicted class."""
    with torch.no_grad():
        neurons = model[:-1](on_device(x))
        first = model[-1](neurons)
        return model[-1](neurons * on_device(chosen)[first.argmax(1)]).numpy(force=True)


def test_importance_is_what_leaving_a_neuron_out_changes(pooled, digits):
    x, y = digits["bank"][0][:300], digits["bank"][1][:300]
    adapter = PyTorchAdapter(make_classifier("pytorch", pooled), "auto", "logit")
    found = class_importance(adapter, x, y, batch_size=70)
    with torch.no_grad():
        neurons = pooled[:-1](on_device(x))
        logits = pooled[-1](neurons)
        right = logits.argmax(1).numpy(force=True) == y
        expected = np.zeros_like(found)
        for k in range(neurons.shape[1]):
            without = neurons.clone()
            without[:, k] = 0
            change = (logits - pooled[-1](without)).abs().numpy(force=True)
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
    chosen = masked.model.masks.numpy(force=True)
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
    kept = masked_by(classifier, digits["bank"], layer=layer, keep=1)
    x = digits["test"][0][:20]
    np.testing.assert_allclose(kept.predict(x), classifier.predict(x), atol=1e-4)
    few = masked_by(classifier, digits["bank"], layer=layer, keep=0.1)
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
        masked = masked_by(classifier, digits["bank"])
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
    masked = masked_by(with_defence, digits["bank"], keep=0.3)
    alone = masked_by(classifier, digits["bank"], keep=0.3)
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
            masked_by(classifier, (x, y), **wrong)
    with pytest.raises(ValueError, match="No image of the classes 4"):
        masked_by(classifier, (x[y != 4], y[y != 4]))
    with pytest.raises(ValueError, match="Labels have shape"):
        masked_by(classifier, (x, y[:3]))
    with pytest.raises(ValueError, match="outside the clip_values"):
        masked_by(classifier, (x * 255, y))
    probabilities = nn.Sequential(*pooled, nn.Softmax(dim=1))
    with pytest.raises(ValueError, match="needs a model that gives logits"):
        masked_by(make_classifier("pytorch", probabilities), (x, y))


# As a transformer of ART


def test_it_is_a_transformer_of_art(pooled, digits):
    x, classifier = digits["test"][0][:10], make_classifier("pytorch", pooled)
    transformer = defences.get("importance-masking").create(classifier, keep=0.2)
    assert isinstance(transformer, Transformer)
    assert transformer.is_fitted is False
    with pytest.raises(NotFittedError, match=r"no masks yet: call fit\(x_benign, y_benign\)"):
        transformer.get_classifier()
    assert transformer.fit(*digits["bank"]) is None
    assert transformer.is_fitted is True
    assert transformer.get_classifier() is transformer.get_classifier()
    expected = masked_by(classifier, digits["bank"], keep=0.2).predict(x)
    np.testing.assert_array_equal(transformer.get_classifier().predict(x), expected)
    assert transformer.classifier is classifier


def test_called_it_masks_another_classifier_with_the_classes_of_its_own(pooled, digits):
    (x, _), classifier = digits["bank"], make_classifier("pytorch", pooled)
    other = make_classifier("pytorch", copy.deepcopy(pooled))
    found = ImportanceMasking(classifier, keep=0.3)(x, other)
    assert found.model.model is other.model
    own_classes = classifier.predict(x).argmax(axis=1)
    expected = masked_by(other, (x, own_classes), keep=0.3)
    assert torch.equal(found.model.masks, expected.model.masks)


def test_changed_parameters_drop_the_fit_and_wrong_ones_change_nothing(pooled, digits):
    transformer = ImportanceMasking(make_classifier("pytorch", pooled), keep=0.2)
    transformer.fit(*digits["bank"])
    for wrong, message in (({"sharpness": -1}, "sharpness=-1"), ({"share": 1}, "'sharpness'")):
        with pytest.raises(ValueError, match=message):
            transformer.set_params(keep=0.5, **wrong)
        assert repr(transformer) == (
            "ImportanceMasking(layer='auto', keep=0.2, sharpness=100.0, batch_size=64)"
        )
        assert transformer.is_fitted
    transformer.set_params(keep=0.5)
    assert not transformer.is_fitted
    transformer.fit(*digits["bank"])
    assert (transformer.get_classifier().model.masks.sum(1) == 64).all()


def test_what_is_no_pytorch_classifier_is_refused(pooled, lenet, digits):
    black_box = BlackBoxClassifier(lambda x: np.zeros((len(x), 10)), (1, 28, 28), 10)
    for given, message in (
        (black_box, "BlackBoxClassifier has none: give a PyTorchClassifier"),
        (make_classifier("tensorflow", lenet["tensorflow"]), "give a PyTorchClassifier"),
        (pooled, r"It is a model: wrap it as .*PyTorchClassifier\(model"),
        (lenet["tensorflow"], r"It is a model: wrap it as .*TensorFlowV2Classifier\(model"),
    ):
        with pytest.raises(TypeError, match=message):
            ImportanceMasking(given)
        with pytest.raises(TypeError, match=message):
            ImportanceMasking(make_classifier("pytorch", pooled))(digits["bank"][0], given)


def test_fit_takes_images_and_their_labels(pooled, digits):
    transformer = ImportanceMasking(make_classifier("pytorch", pooled))
    with pytest.raises(ValueError, match="y=None; importance masking learns for each class"):
        transformer.fit(digits["bank"][0])
    with pytest.raises(TypeError, match="x and y only; it was given nb_epochs too"):
        transformer.fit(*digits["bank"], nb_epochs=3)


class Halving(nn.Module):
    """A model that halves its input, in place or not."""

    def __init__(self, model, in_place):
        super().__init__()
        self.model, self.in_place = model, in_place

    def forward(self, x):
        if self.in_place and not x.requires_grad:
            return self.model(x.mul_(0.5))
        return self.model(x * 0.5)


def test_a_model_that_writes_to_its_input_spoils_nothing(pooled, digits):
    x, y = digits["bank"]
    kept, found = x.copy(), []
    for in_place in (False, True):
        classifier = make_classifier("pytorch", Halving(pooled, in_place).eval())
        found.append(masked_by(classifier, (x, y), layer="model.6:input"))
        np.testing.assert_array_equal(x, kept)
    assert torch.equal(*(each.model.masks for each in found))
    np.testing.assert_allclose(*(each.predict(x[:20]) for each in found), atol=1e-5)


def test_threads_do_not_mask_each_other(pooled, digits):
    """They share the model that the masks are hooked into."""
    plain = make_classifier("pytorch", pooled)
    classifiers = [plain, *(masked_by(plain, digits["bank"], keep=k) for k in (0.1, 0.3))]
    x = digits["test"][0]
    expected = [classifier.predict(x) for classifier in classifiers]
    with ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(c.predict, x, batch_size=8) for _ in range(4) for c in classifiers]
        for run, scores in zip(runs, 4 * expected, strict=True):
            np.testing.assert_allclose(run.result(), scores, atol=1e-4)
