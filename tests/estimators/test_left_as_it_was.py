"""Looking at a model leaves it as it was, whatever happens meanwhile."""

import numpy as np
import pytest

from art_nip import NIPPreprocessor, attacks
from art_nip.estimators.base import adapter_for
from art_nip.testing import check_preprocessor
from tests.helpers import make_classifier, on_device
from tests.models import small, traces


class BrokenError(BaseException):
    """Raised by a layer; no `Exception`, as a KeyboardInterrupt is none."""


def with_norm(framework, fail):
    """Return a model with BatchNorm and Dropout, whose last layer can be made to fail."""
    if framework == "pytorch":
        import torch
        from torch import nn

        class Last(nn.Linear):
            def forward(self, x):
                if fail["now"]:
                    raise BrokenError
                return super().forward(x)

        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 4, 5), nn.BatchNorm2d(4), nn.MaxPool2d(4), nn.Flatten(), nn.Dropout(),
            nn.Linear(144, 30), Last(30, 10),
        )  # fmt: skip
    import keras
    from keras import layers

    class Last(layers.Dense):
        def call(self, x):
            if fail["now"]:
                raise BrokenError
            return super().call(x)

    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)), layers.Conv2D(4, 5), layers.BatchNormalization(),
            layers.MaxPooling2D(4), layers.Flatten(), layers.Dropout(0.5), layers.Dense(30),
            Last(10),
        ]
    )  # fmt: skip


@pytest.mark.parametrize("breaks", [False, True])
def test_the_model_is_left_as_it_was(framework, images, breaks):
    fail = {"now": False}
    model = with_norm(framework, fail)
    classifier = make_classifier(framework, model)
    if framework == "pytorch":
        model.train()
        model[1].eval()  # modes may be mixed
        model[0].weight.requires_grad_(False)
    before = traces(framework, model)
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    x = images["bank"][0][:40]
    nip.fit(x)
    fail["now"] = breaks
    if breaks:
        nip.set_params(k1=4)  # another function of influence: TensorFlow must trace fitting anew
        looks = [lambda: nip.fit(x)]
        if framework == "pytorch":  # TensorFlow's graph of influence stands, and calls no layer
            looks += [lambda: nip.set_params(layer="5"), lambda: nip.influence(x)]
        for look in looks:
            with pytest.raises(BrokenError):
                look()
    else:
        nip(x)
        nip.influence(x)
    assert traces(framework, model) == before


def test_gradients_may_be_off_and_training_mode_on(lenet, digits):
    import torch

    classifier = make_classifier("pytorch", lenet["pytorch"])
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(digits["bank"][0][:100])
    x = digits["test"][0][:10]
    expected = nip(x)[0]
    with torch.no_grad():
        assert np.array_equal(nip(x)[0], expected)
        assert not torch.is_grad_enabled()
    defended = nip.attach(classifier)
    defended.predict(x, training_mode=True)
    assert lenet["pytorch"].training
    assert np.array_equal(nip(x)[0], expected)
    lenet["pytorch"].eval()


def test_conformance(nip, images):
    check_preprocessor(nip, images["test"][0][:6])


def in_place():
    import torch

    class InPlace(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = small("pytorch")

        def forward(self, x):
            return self.inner(x.sub_(0.5).mul_(4))

    return InPlace()


def test_a_model_that_works_in_place_changes_no_images_of_the_caller():
    # Without ART's own preprocessing, which would make a copy.
    classifier = make_classifier("pytorch", in_place(), (3, 16, 16), 4, preprocessing=None)
    x = np.random.default_rng(0).random((20, 3, 16, 16)).astype(np.float32)
    given = on_device(x)
    adapter = adapter_for(classifier, "auto", "probability")
    layers = (adapter.layer,)
    for look in (
        adapter.influence,
        adapter.outputs,
        lambda images: adapter.activations(images, layers),
        lambda images: adapter.logits_and_activations(images, layers),
        adapter.observer(lambda influence: influence * 0 + 1),
    ):
        look(given)
        assert np.array_equal(given.numpy(force=True), x)


@pytest.mark.parametrize("name", ["fgsm", "deepfool"])
def test_a_model_that_works_in_place_is_attacked_as_any_other(name):
    x = np.random.default_rng(0).random((6, 3, 16, 16)).astype(np.float32)
    found = []
    for keywords in ({"preprocessing": None}, {"preprocessing": (0.0, 1.0)}):
        classifier = make_classifier("pytorch", in_place(), (3, 16, 16), 4, **keywords)
        found.append(attacks.get(name).create(classifier).generate(x))
    np.testing.assert_allclose(*found, atol=1e-5)
    assert np.abs(found[0] - x).max() > 1e-3
