"""The paper's first model on real images: what holds for LeNet-5 holds here. Needs ../shared."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from art_nip import NIPPreprocessor, zoo
from art_nip.data import parquet
from art_nip.zoo.classifiers import as_classifier
from tests.helpers import FRAMEWORKS, ByFramework, to_framework

SHARED = Path(__file__).resolve().parents[3] / "shared"
WEIGHTS = SHARED / "weights" / "cifar10-vgg19.safetensors"
IMAGES = SHARED / "data" / "cifar10-test.parquet"

pytestmark = pytest.mark.skipif(
    not (WEIGHTS.exists() and IMAGES.exists()),
    reason=f"the trained VGG-19 and CIFAR-10 are not in {SHARED}",
)


@pytest.fixture(scope="module")
def cifar():
    x, y, _ = parquet(IMAGES, limit=500)
    return x, y


@pytest.fixture(scope="module")
def classifiers():
    classifiers = {}
    for framework in FRAMEWORKS:
        shape = (3, 32, 32) if framework == "pytorch" else (32, 32, 3)
        model = zoo.create("vgg19-small", framework=framework, input_shape=shape, nb_classes=10)
        zoo.set_weights(model, load_file(WEIGHTS))
        classifiers[framework] = as_classifier(
            model, framework, shape, 10, preprocessing=(0.5, 0.25)
        )
    return classifiers


def fitted_nips(classifiers, x, y, **parameters):
    nips = ByFramework()
    for framework, classifier in classifiers.items():
        nip = NIPPreprocessor.for_estimator(classifier, verbose=False, **parameters)
        nip.fit(to_framework(x, framework), y)
        nips[framework] = nip
    return nips


@pytest.fixture(scope="module")
def nips(classifiers, cifar):
    x, y = cifar
    return fitted_nips(classifiers, x[:300], y[:300])


def test_the_layer_is_the_papers(nips):
    assert {(nip.layer_name, nip.n_neurons) for nip in nips.values()} == {
        ("classifier.0:input", 512)
    }
    assert 220 < len(nips["pytorch"].candidates) < 290


def test_pytorch_and_tensorflow_agree(nips, cifar):
    x = cifar[0][300:]
    images = to_framework(x, "tensorflow")
    ours, theirs = nips["pytorch"], nips["tensorflow"]
    np.testing.assert_allclose(ours.similarity(x), theirs.similarity(images), atol=1e-4)
    same = ours.retrieve(x) == theirs.retrieve(images)
    assert same.mean() >= 0.99
    np.testing.assert_allclose(
        to_framework(ours(x)[0], "tensorflow")[same], theirs(images)[0][same], atol=1e-4
    )


def test_the_batch_size_does_not_matter(nips, cifar):
    x = cifar[0][300:400]
    nip = nips["pytorch"]
    expected, similarities = nip(x)[0], nip.similarity(x)
    nip.set_params(batch_size=7)
    np.testing.assert_allclose(nip.similarity(x), similarities, atol=1e-6)
    np.testing.assert_allclose(nip(x)[0], expected, atol=1e-6)
    nip.set_params(batch_size=128)


def test_nearest_neurons(classifiers, cifar):
    """An early layer knows an image again, and both frameworks find the same candidates."""
    x, y = cifar[0][:100], cifar[1][:100]
    nips = fitted_nips(classifiers, x, y, retrieval="nearest")
    noise = np.random.default_rng(0).uniform(-16 / 255, 16 / 255, x.shape).astype(np.float32)
    asked = {"noisy": np.clip(x + noise, 0, 1), "others": cifar[0][300:400]}
    found = ByFramework(
        (framework, {kind: nip.retrieve(to_framework(x, framework)) for kind, x in asked.items()})
        for framework, nip in nips.items()
    )
    kept = np.flatnonzero(classifiers["pytorch"].predict(x).argmax(1) == y)
    assert 70 < len(kept) < 97
    for framework, nip in nips.items():
        assert nip.retrieval.layer == "features.7:input"
        assert np.array_equal(found[framework]["noisy"][kept], np.arange(len(kept)))
    assert np.mean(found["pytorch"]["others"] == found["tensorflow"]["others"]) >= 0.99
