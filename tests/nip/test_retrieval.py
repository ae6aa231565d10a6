"""How an image finds its inverse perturbation: the choice, and nearest neurons."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from art.attacks.evasion import ProjectedGradientDescent
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.exceptions import NotFittedError

from art_nip import NIPPreprocessor, zoo
from art_nip.estimators.layers import Layer
from art_nip.nip.retrieval import Nearest, Reader, Retrieval, Similarity
from art_nip.nip.retrieval.neighbour import most_similar
from art_nip.nip.retrieval.vectors import neuron_vectors
from art_nip.testing import check_preprocessor
from art_nip.utils.arrays import namespace
from tests.helpers import FRAMEWORKS, ByFramework, device, make_classifier, on_device, to_framework
from tests.models import SIDES, traces
from tests.nip.test_neurons import every_framework


def fitted(classifier, x, retrieval="nearest", **parameters):
    nip = NIPPreprocessor.for_estimator(
        classifier, verbose=False, retrieval=retrieval, **parameters
    )
    nip.fit(x)
    return nip


@pytest.fixture(scope="module")
def nearest_nips(lenet, digits):
    """A NIP with nearest neurons in each framework; tests leave them as they are."""
    return ByFramework(
        {
            framework: fitted(
                make_classifier(framework, lenet[framework]),
                to_framework(digits["bank"][0], framework),
            )
            for framework in FRAMEWORKS
        }
    )


@pytest.fixture
def nearest_nip(nearest_nips, framework):
    return nearest_nips[framework]


# Vectors


@every_framework
def test_vectors_by_hand(tensor):
    maps = np.array([[[4, 0], [-9, -1]], [[2, 2], [-3, -3]], [[0, 0], [0, 0]]], np.float32)
    found = np.asarray(neuron_vectors(tensor(maps)))
    # Roots 2, 0, -3, -1; less each channel's mean 1, -1, -1, 1; of length 2.
    assert found[0] == pytest.approx([0.5, -0.5, -0.5, 0.5])
    assert not found[1:].any()  # the same everywhere


@every_framework
def test_rounding_is_no_vector(tensor):
    maps = np.full((1, 3, 1000), 0.1, np.float32)
    assert not np.asarray(neuron_vectors(tensor(maps))).any()


# Whole numbers, so that products are exact and ties common.
whole = st.integers(-3, 3).map(float)


@every_framework
@given(st.data(), st.integers(1, 8), st.integers(1, 12), st.integers(1, 6), st.integers(1, 15))
def test_any_chunk_finds_the_first_of_the_most_similar(tensor, data, n, m, d, rows):
    vectors = data.draw(arrays(np.float32, (n, d), elements=whole))
    stored = data.draw(arrays(np.float16, (m, d), elements=whole))

    def to_tensor(chunk):
        assert len(chunk) <= rows
        return tensor(np.asarray(chunk, np.float32))

    found = np.asarray(most_similar(tensor(vectors), stored, rows, to_tensor))
    assert np.array_equal(found, (vectors @ stored.T.astype(np.float32)).argmax(1))


# What it computes


def two_convolutions(framework):
    """Return a model of one row of ten pixels whose first stage gives these and their negatives."""
    dense = np.stack([np.arange(10), -np.arange(10)]).astype(np.float32)
    if framework == "pytorch":
        import torch
        from torch import nn

        layers = [nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)]
        model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(10, 2))
        with torch.no_grad():
            model[0].weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
            model[1].weight.copy_(torch.tensor([1.0, 0.0]).reshape(1, 2, 1, 1))
            model[3].weight.copy_(torch.from_numpy(dense))
        return make_classifier(framework, model, (1, 1, 10), 2)
    import keras

    layers = [keras.layers.Conv2D(2, 1, use_bias=False), keras.layers.Conv2D(1, 1, use_bias=False)]
    layers += [keras.layers.Flatten(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((1, 10, 1)), *layers])
    weights = np.array([1.0, -1.0]).reshape(1, 1, 1, 2), np.array([1.0, 0.0]).reshape(1, 1, 2, 1)
    model.set_weights([*weights, dense.T, np.zeros(2)])
    return make_classifier(framework, model, (1, 10, 1), 2)


def test_nearest_by_hand(framework):
    classifier = two_convolutions(framework)
    row = np.zeros((3, 10), np.float32)
    row[0, :5] = row[1, 5:] = row[2, ::2] = 0.64
    nip = fitted(classifier, row.reshape(3, *classifier.input_shape), k1=1, k2=1)
    # Root 0.8 or 0 on half of the places each: ±0.4 in both channels, so 1/√20 when of length 1.
    signs = np.where(row > 0, 1, -1)
    expected = np.concatenate([signs, -signs], axis=1) / np.sqrt(20)
    np.testing.assert_allclose(nip._fitted.learned["vectors"], expected, atol=1e-3)

    asked = np.array([[0.9, 0.9, 0.8, 0.9, 0.1, 0, 0, 0, 0.2, 0], [0.04] * 5 + [0.05] * 5])
    asked = np.stack([*asked, np.arange(10) % 2 == 0, np.full(10, 0.5)]).astype(np.float32)
    # Contrast does not matter; where there is none, no candidate is nearer than the first.
    images = asked.reshape(4, *classifier.input_shape)
    assert nip.retrieve(images).tolist() == [0, 1, 2, 0]
    mean = asked.mean(1, keepdims=True)
    rho = nip.candidates.perturbations.reshape(3, 10)[[0, 1, 2, 0]]
    np.testing.assert_allclose(
        nip(images)[0].reshape(4, 10), np.clip(asked + mean * rho, 0, 1), atol=1e-6
    )


def test_nearest_is_that_of_float64(nearest_nips, lenet, digits):
    """From what PyTorch's own modules give, computed once more in NumPy without float16."""
    import torch

    def vectors(x):
        with torch.no_grad():
            maps = lenet["pytorch"].features[:3](on_device(x))
            maps = maps.double().flatten(2).numpy(force=True)
        roots = np.sqrt(maps)
        centred = (roots - roots.mean(2, keepdims=True)).reshape(len(x), -1)
        return centred / np.linalg.norm(centred, axis=1, keepdims=True)

    x = digits["test"][0]
    cosines = vectors(x) @ vectors(digits["bank"][0]).T
    found = nearest_nips["pytorch"].retrieve(x)
    # float16 may decide between two that are as near.
    assert (cosines[np.arange(len(x)), found] > cosines.max(1) - 1e-3).all()
    assert (found == cosines.argmax(1)).mean() > 0.98


def test_pytorch_and_tensorflow_agree(nearest_nips, digits):
    ours, theirs = nearest_nips["pytorch"], nearest_nips["tensorflow"]
    np.testing.assert_allclose(
        ours._fitted.learned["vectors"], theirs._fitted.learned["vectors"], atol=1e-3
    )
    x = digits["test"][0]
    images = to_framework(x, "tensorflow")
    same = ours.retrieve(x) == theirs.retrieve(images)
    assert same.mean() > 0.98
    np.testing.assert_allclose(
        to_framework(ours(x)[0], "tensorflow")[same], theirs(images)[0][same], atol=1e-4
    )


def test_attacked_images_find_their_own_benign_version(classifier, images):
    x, y = images["test"]
    nip = fitted(classifier, x)
    attack = ProjectedGradientDescent(
        classifier, eps=0.2, eps_step=0.04, max_iter=10, verbose=False
    )
    adversarial = attack.generate(x, y)
    assert (classifier.predict(adversarial).argmax(1) != y).mean() > 0.8
    for asked in (x, adversarial):
        assert np.array_equal(nip.retrieve(asked), np.arange(len(x)))
    np.testing.assert_allclose(
        nip(adversarial)[0],
        np.clip(
            adversarial
            + adversarial.mean((1, 2, 3), keepdims=True) * nip.candidates.perturbations,
            0, 1,
        ),
        atol=1e-6,
    )  # fmt: skip


def test_the_order_of_the_bank_does_not_matter(nearest_nip, classifier, images):
    order = np.random.default_rng(0).permutation(len(images["bank"][0]))
    permuted = fitted(classifier, images["bank"][0][order], batch_size=77)
    x = images["test"][0]
    assert np.array_equal(order[permuted.retrieve(x)], nearest_nip.retrieve(x))
    np.testing.assert_allclose(permuted(x)[0], nearest_nip(x)[0], atol=1e-6)


def test_only_candidates_are_found(classifier, images):
    x, y = images["bank"][0][:100], images["bank"][1][:100].copy()
    y[::2] = (y[::2] + 1) % 10
    nip = NIPPreprocessor.for_estimator(
        classifier, verbose=False, retrieval="nearest", batch_size=30
    )
    nip.fit(x, y)
    kept = np.flatnonzero(classifier.predict(x).argmax(1) == y)
    assert np.array_equal(nip.retrieve(x[kept]), np.arange(len(kept)))
    assert len(nip._fitted.learned["vectors"]) == len(kept) == len(nip.candidates)


def test_the_papers_quantities_are_there_whichever_is_chosen(nearest_nip, nip, images):
    x = images["test"][0][:20]
    assert np.array_equal(nearest_nip.similarity(x), nip.similarity(x))
    np.testing.assert_allclose(nearest_nip.neuron_template, nip.neuron_template, atol=1e-7)


def test_conformance(nearest_nip, images):
    check_preprocessor(nearest_nip, images["test"][0][:6])


# Looking at a layer


@pytest.mark.parametrize("mode", [True, False])
def test_looking_stops_at_the_layer_and_leaves_nothing_behind(framework, lenet, images, mode):
    model = lenet[framework]
    if framework == "pytorch":
        model.train(mode)
    before = traces(framework, model)
    nip = fitted(make_classifier(framework, model), images["bank"][0][:40])
    if framework == "pytorch":
        ran = []
        handle = model.classifier.register_forward_hook(lambda *_: ran.append(1))
        nip.retrieve(images["test"][0][:4])
        handle.remove()
        assert not ran
    assert traces(framework, model) == before
    if framework == "pytorch":
        model.eval()


def test_an_error_before_the_layer_passes_and_leaves_nothing_behind(lenet, digits):
    import torch

    model = lenet["pytorch"]
    nip = fitted(make_classifier("pytorch", model), digits["bank"][0][:40])
    before = traces("pytorch", model)
    with pytest.raises(RuntimeError, match="size"):
        nip._adapter.activations(
            torch.zeros(2, 3, 28, 28, device=device()), [Layer("features.3", "input")]
        )
    assert traces("pytorch", model) == before


def test_activation_is_what_the_layer_gives_as_channels_of_places(lenet, digits):
    import torch

    model, x = lenet["pytorch"], digits["test"][0][:5]
    adapters = {
        framework: NIPPreprocessor.for_estimator(
            make_classifier(framework, lenet[framework], preprocessing=(0.1, 0.5))
        )._adapter
        for framework in FRAMEWORKS
    }
    with torch.no_grad():
        maps = model.features[:4]((on_device(x) - 0.1) / 0.5)
        vectors = model.classifier[0](model.flatten(model.features[4:](maps)))
        logits = model((on_device(x) - 0.1) / 0.5)
    layers = [Layer("classifier.0"), Layer("features.3")]
    for framework, adapter in adapters.items():
        images = adapter.tensor(to_framework(x, framework))
        outputs, on_the_way = adapter.logits_and_activations(images, layers)
        np.testing.assert_allclose(adapter.numpy(outputs), logits.numpy(force=True), atol=1e-4)
        for found in (on_the_way, adapter.activations(images, layers)):
            for each, values in zip(found, (vectors[:, None], maps), strict=True):
                np.testing.assert_allclose(adapter.numpy(each), values.numpy(force=True), atol=1e-5)


def test_of_a_layer_called_twice_the_first_call_counts(digits):
    import torch
    from torch import nn

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 3, 3)
            self.relu, self.head = nn.ReLU(inplace=True), nn.Linear(3 * 24 * 24, 10)

        def forward(self, x):
            return self.head(self.relu(self.second(self.relu(self.first(x)))).flatten(1))

    model, x = Shared(), on_device(digits["test"][0][:3])
    adapter = NIPPreprocessor.for_estimator(make_classifier("pytorch", model))._adapter
    layers = [Layer("relu"), Layer("first")]
    expected = [model.first(x).relu(), model.first(x)]
    for found in (adapter.activations(x, layers[:1]), adapter.activations(x, layers[1:])):
        assert torch.equal(found[0], expected.pop(0))
    # Not what the layer that works in place has made of it.
    on_the_way = adapter.logits_and_activations(x, layers)[1]
    for relu, first in (adapter.activations(x, layers), on_the_way):
        assert torch.equal(first, model.first(x))
        assert torch.equal(relu, first.relu())


# The choice of a layer

EARLY = {
    "lenet5": "features.3",
    "vgg19": "features.7",  # behind the first pooling, a quarter of what the second takes
    "vgg19-small": "features.7",
    "alexnet": "features.5",
    "resnet20": "features.3.body.0",
    "mobilenet": "features.1",
}


@pytest.mark.parametrize("name", SIDES)
def test_auto_is_an_early_layer(framework, name):
    size = (SIDES[name], SIDES[name])
    shape = (3, *size) if framework == "pytorch" else (*size, 3)
    model = zoo.create(name, framework=framework, input_shape=shape, nb_classes=10)
    nip = NIPPreprocessor.for_estimator(
        make_classifier(framework, model, shape), retrieval="nearest"
    )
    assert nip.retrieval == Nearest(f"{EARLY[name]}:input")
    assert nip.layer_name == "classifier.0:input"


def test_a_layer_can_be_named(classifier, images):
    nip = fitted(classifier, images["bank"][0][:50], Nearest(layer="classifier.0:input"))
    assert nip._fitted.learned["vectors"].shape == (50, 256)
    assert np.array_equal(nip.retrieve(images["bank"][0][:50]), np.arange(50))


def test_auto_without_a_second_convolution_says_so(digits):
    from torch import nn

    model = nn.Sequential(nn.Conv2d(1, 2, 5), nn.Flatten(), nn.Linear(2 * 24 * 24, 10))
    classifier = make_classifier("pytorch", model)
    with pytest.raises(ValueError, match=r"second convolution, .* there is none. Name .*: 0, 1"):
        NIPPreprocessor.for_estimator(classifier, retrieval="nearest")
    x = digits["bank"][0][:20]
    assert np.array_equal(fitted(classifier, x, Nearest("1:input")).retrieve(x), np.arange(20))


# The choice of a retrieval


def test_a_name_an_object_and_what_a_file_says_are_one(classifier):
    def chosen(retrieval):
        return NIPPreprocessor.for_estimator(classifier, retrieval=retrieval).retrieval

    assert chosen("similarity") == Similarity()
    assert NIPPreprocessor.for_estimator(classifier).retrieval == Similarity()
    assert chosen("nearest") == chosen(Nearest()) == chosen({"name": "nearest"})
    assert chosen({"name": "nearest", "layer": "features.0"}) == Nearest("features.0")


@pytest.mark.parametrize(
    ("retrieval", "error", "message"),
    [
        ("nearset", ValueError, "Unknown retrieval 'nearset'. Did you mean 'nearest'"),
        ({"layer": "features.0"}, ValueError, "Unknown retrieval None"),
        ({"name": "nearest", "layr": "a"}, ValueError, "'layr'. Did you mean 'layer'"),
        ({"name": "similarity", "layer": "a"}, ValueError, "of retrieval 'similarity' 'layer'"),
        (Nearest, TypeError, "'nearest', 'class', 'mixed', or an object, such as"),
        (None, TypeError, "retrieval=None; give a name"),
        (Nearest("feature.3"), ValueError, "'feature.3' is not in the model. The nearest: feat"),
        (Nearest("features.3:output"), ValueError, "only 'input' is allowed"),
    ],
)
def test_a_wrong_choice_is_refused_at_once(classifier, retrieval, error, message):
    with pytest.raises(error, match=message):
        NIPPreprocessor.for_estimator(classifier, retrieval=retrieval)
    nip = NIPPreprocessor.for_estimator(classifier)
    before = nip.parameters
    with pytest.raises(error, match=message):
        nip.set_params(retrieval=retrieval)
    assert nip.parameters is before


def test_a_layer_that_is_no_name_is_refused():
    with pytest.raises(TypeError, match="layer=3; give a layer's name, or 'auto'"):
        Nearest(layer=3)


def test_another_choice_drops_the_fit(classifier, images):
    x = images["bank"][0][:30]
    nip = fitted(classifier, x)
    before = nip(x)[0]
    for same in ("nearest", Nearest(), nip.retrieval):
        nip.set_params(retrieval=same)
        assert np.array_equal(nip(x)[0], before)
    nip.set_params(retrieval=Nearest("features.0"))
    assert not nip.is_fitted
    nip.fit(x)
    nip.set_params(retrieval="similarity")
    with pytest.raises(NotFittedError):
        nip(x)
    nip.fit(x)
    assert not nip._fitted.learned


def test_repr_tells_the_choice(nearest_nip):
    assert "retrieval=Nearest(layer='features.3:input')" in repr(nearest_nip)


# The seam: what a retrieval of another kind can do


@dataclass(frozen=True)
class Own(Retrieval):
    """Gives bright images a perturbation of its own, and leaves the others alone."""

    name: ClassVar[str] = "own"
    least: float = 0.15

    def learn(self, context, images, labels):
        passes = [sum(len(batch) for batch in images()) for _ in range(2)]
        return {"counts": np.array([*passes, len(labels)])}

    def reader(self, context):
        return OwnReader(context, self.least)


class OwnReader(Reader):
    def __init__(self, context, least):
        super().__init__(context)
        self._least, self._zeros = least, context.adapter.rows(np.full(1, -1))

    def candidate(self, x):
        return self._zeros(namespace(x).argmax(x[:, :1, 0, 0], axis=1))

    def perturbation(self, x):
        xp = namespace(x)
        bright = xp.mean(x, axis=(1, 2, 3), keepdims=True) > self._least
        return xp.where(bright, x * 0 + 0.5, x * 0)


def test_a_retrieval_may_give_its_own_perturbation_or_none(classifier, images):
    nip = fitted(classifier, images["bank"][0][:30], Own())
    assert nip._fitted.learned["counts"].tolist() == [30, 30, 30]
    x = images["test"][0]
    mean = x.mean((1, 2, 3), keepdims=True)
    assert 0 < (mean > 0.15).sum() < len(x)
    expected = np.where(mean > 0.15, np.clip(x + 0.5 * mean, 0, 1), x)
    np.testing.assert_allclose(nip(x)[0], expected, atol=1e-6)
    assert (nip.retrieve(x) == -1).all()
    check_preprocessor(nip, x[:6])
