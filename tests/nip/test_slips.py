"""Slips that users make: each is set right, or refused with a sentence that says what to do."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from art_nip import NIPPreprocessor, NIPPreprocessorPyTorch, NIPPreprocessorTensorFlowV2
from art_nip.nip.parameters import ParameterKeywords, Parameters
from art_nip.nip.properties import HasParameters
from art_nip.nip.retrieval import (
    ClassEvidence,
    EstimatorEvidence,
    Evidence,
    GradedViewEvidence,
    Nearest,
    ShallowEvidence,
    ViewEvidence,
)
from tests.helpers import make_classifier
from tests.nip.helpers import fitted

# Parameters


def test_keywords_and_properties_are_those_of_the_parameters():
    names = Parameters.names()
    assert list(ParameterKeywords.__annotations__) == names
    assert [name for name in vars(HasParameters) if name in names] == names
    assert all(isinstance(getattr(HasParameters, name), property) for name in names)


@pytest.mark.parametrize(
    "parameters",
    [
        {"k1": np.int64(3), "k2": np.uint8(4), "batch_size": np.int32(64)},
        {"strength": np.float32(0.5), "verbose": np.bool_(False)},
        {"fractions": np.float32([0.25, 0.25, 0.5]), "layer": np.str_("auto")},
        {"quorum": np.float64(0.2), "template": np.str_("quorum")},
        {"clip_values": (np.float32(0), np.int64(1))},
        {"retrieval": Nearest(np.str_("features.3:input"))},
        {"retrieval": ClassEvidence(steps=np.int64(5), lead=np.float32(1.5), step=np.float16(0.5))},
        {"retrieval": ClassEvidence(ShallowEvidence(shrinkage=np.float32(0.25)))},
        {"retrieval": ClassEvidence(ViewEvidence(
            [{"name": "SpatialSmoothing", "window_size": np.int64(3)}]))},
        {"retrieval": ClassEvidence(GradedViewEvidence(budget=np.float32(0.25)))},
    ],
)  # fmt: skip
def test_numpy_scalars_are_numbers(lenet, digits, tmp_path, parameters):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    nip = NIPPreprocessor.for_estimator(classifier, **{"verbose": False, **parameters})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Early layers tell the class")
        nip.fit(digits["bank"][0][:120])
    nip.save(tmp_path / "nip")
    loaded = NIPPreprocessor.load(tmp_path / "nip", classifier)
    assert loaded.parameters == nip.parameters
    x = digits["test"][0][:5]
    assert np.array_equal(loaded(x)[0], nip(x)[0])


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"verbose": "no"}, ValueError, "verbose='no'; give True or False"),
        ({"apply_fit": 1}, ValueError, "apply_fit=1; give True or False"),
        ({"apply_predict": "yes"}, ValueError, "apply_predict='yes'; give True or False"),
        ({"strength": True}, ValueError, "strength=True; give a finite number"),
        ({"strength": "1"}, ValueError, "strength='1'; give a finite number"),
        ({"quorum": "half"}, ValueError, "quorum='half'; give a finite number above 0 and at most"),
        ({"fractions": "136"}, ValueError, "fractions='136'; give three positive shares"),
        ({"fractions": 0.1}, ValueError, "fractions=0.1; give three positive shares"),
        ({"fractions": ("a", "b", "c")}, ValueError, "give three positive shares"),
        ({"clip_values": "01"}, ValueError, "clip_values='01'; give .min, max. with min below"),
        ({"clip_values": 1}, ValueError, "clip_values=1; give"),
        ({"clip_values": (0, 1, 2)}, ValueError, "clip_values=.0, 1, 2.; give"),
        ({"clip_values": (0, np.nan)}, ValueError, "clip_values=.0, nan.; give"),
        ({"clip_values": ("black", "white")}, ValueError, "give .min, max."),
        ({"confidence": "Logit"}, ValueError, "Did you mean 'logit'"),
        ({"template": "QUORUM"}, ValueError, "Did you mean 'quorum'"),
        ({"bank_dtype": np.float16}, ValueError, "Unknown bank_dtype"),
        ({"retrieval": "NEAREST"}, ValueError, "Unknown retrieval 'NEAREST'. Did you mean 'near"),
        ({"retrieval": {"name": "class", "evidence": "Shallow"}}, ValueError, "mean 'shallow'"),
        ({"retrieval": {"name": 3}}, ValueError, "Unknown retrieval 3"),
        ({"retrieval": ["nearest"]}, TypeError, "give a name, one of"),
        ({"K1": 3}, ValueError, "no parameter 'K1'. The nearest is 'k1'"),
        ({"k1": "5"}, ValueError, "k1='5'; give a whole number"),
        ({"batch_size": True}, ValueError, "batch_size=True; give a whole number"),
    ],
)
def test_what_no_parameter_can_be_is_refused(lenet, parameters, error, message):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    with pytest.raises(error, match=message):
        NIPPreprocessor.for_estimator(classifier, **parameters)


# What is given for a classifier


def test_a_bare_model_is_told_how_to_be_wrapped(framework, lenet):
    wrapper = {"pytorch": "PyTorchClassifier", "tensorflow": "TensorFlowV2Classifier"}[framework]
    message = rf"NIP takes a classifier of ART, and got .*: wrap it as .*{wrapper}\("
    with pytest.raises(TypeError, match=message):
        NIPPreprocessor.for_estimator(lenet[framework])
    kinds = NIPPreprocessorPyTorch, NIPPreprocessorTensorFlowV2
    for kind in kinds:
        with pytest.raises(TypeError, match=message):
            kind(lenet[framework])


def test_a_bare_model_for_a_saved_nip_too(nip, framework, lenet, tmp_path):
    nip.save(tmp_path / "nip")
    with pytest.raises(TypeError, match="wrap it"):
        NIPPreprocessor.load(tmp_path / "nip", lenet[framework])
    with pytest.raises(TypeError, match="wrap it"):
        nip.attach(lenet[framework])


def test_the_class_of_another_framework_is_refused(classifier, framework):
    wrong = {
        "pytorch": NIPPreprocessorTensorFlowV2, "tensorflow": NIPPreprocessorPyTorch
    }[framework]  # fmt: skip
    for kind in (wrong, NIPPreprocessor):
        with pytest.raises(TypeError, match=r"Make a NIP with NIPPreprocessor\.for_estimator"):
            kind(classifier)


def test_evidence_is_that_of_class_retrieval(nip, class_nip, images):
    x = images["test"][0][:5]
    assert class_nip.evidence(x).shape == (5, 10)
    assert class_nip.evidence(x).dtype == np.float32
    with pytest.raises(ValueError, match='Only "class" retrieval has evidence'):
        nip.evidence(x)


# Saving what a file cannot hold


@dataclass(frozen=True)
class OwnNearest(Nearest):
    """A retrieval of the user's own, whose name is taken."""


@dataclass(frozen=True)
class Named(Nearest):
    """A retrieval of the user's own with a name of its own."""

    name: ClassVar[str] = "named"


@dataclass(frozen=True)
class OwnEvidence(ViewEvidence):
    """Evidence of the user's own."""

    name: ClassVar[str] = "own"


@pytest.mark.parametrize("retrieval", [OwnNearest(), Named(), ClassEvidence(OwnEvidence())])
def test_ones_own_is_refused_when_it_is_saved(lenet, digits, tmp_path, retrieval):
    nip = fitted(
        make_classifier("pytorch", lenet["pytorch"]), digits["bank"][0][:60], None, retrieval
    )
    with pytest.raises(ValueError, match=r"A file cannot hold .* as load could not make it"):
        nip.save(tmp_path / "nip")
    assert not list(tmp_path.iterdir())


def test_evidence_of_other_images_is_refused(lenet):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    other = make_classifier("pytorch", lenet["pytorch"], clip_values=(0.0, 255.0))
    with pytest.raises(ValueError, match=r"takes images of clip_values .* wrap its model"):
        NIPPreprocessor.for_estimator(classifier, retrieval=ClassEvidence(EstimatorEvidence(other)))


def test_evidence_is_one_of_the_abstract_class():
    with pytest.raises(TypeError, match=r"evidence=.*; give a name, one of"):
        ClassEvidence(Evidence)


# Fitting on what does not do


def test_labels_of_text_are_refused(classifier, images):
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    for labels in (["seven"] * 20, np.array([None] * 20)):
        with pytest.raises(ValueError, match="Labels must be numbers, class indices"):
            nip.fit(images["bank"][0][:20], labels)


def test_masked_values_are_refused(nip, classifier, images):
    x, y = (part[:20] for part in images["bank"])
    other = NIPPreprocessor.for_estimator(classifier, verbose=False)
    hidden = np.ma.masked_greater(x, 0.5)
    for call in (lambda: other.fit(hidden, y), lambda: nip(hidden), lambda: other.fit([hidden])):
        with pytest.raises(ValueError, match=r"Images are a masked array, of which \d+ values"):
            call()
    with pytest.raises(ValueError, match=r"Labels are a masked array.* leave these images out"):
        other.fit(x, np.ma.masked_equal(y, y[0]))
    other.fit(np.ma.masked_array(x), np.ma.masked_array(y))  # nothing is masked


def test_a_layer_that_no_image_changes_is_refused(framework, digits):
    """The neurons are weights, whatever the image; scores hang on them and on the image."""
    classifier = deaf_classifier(framework)
    nip = NIPPreprocessor.for_estimator(classifier, layer="deaf", k1=2, k2=2, verbose=False)
    x = np.random.default_rng(0).random((8, *classifier.input_shape), np.float32)
    with pytest.raises(ValueError, match="No image changes anything in layer 'deaf'"):
        nip.fit(x)


def deaf_classifier(framework):
    if framework == "pytorch":
        from torch import nn

        class Model(nn.Module):
            def __init__(self):
                super().__init__()
                self.flat, self.deaf = nn.Flatten(), nn.Linear(12, 20)
                self.head, self.past = nn.Linear(20, 10), nn.Linear(12, 10)

            def forward(self, x):
                x = self.flat(x)
                return self.head(self.deaf(x * 0 + 1)) + self.past(x)

        return make_classifier(framework, Model(), (3, 2, 2), 10)
    import keras

    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.flat, self.deaf = keras.layers.Flatten(), keras.layers.Dense(20, name="deaf")
            self.head, self.past = keras.layers.Dense(10), keras.layers.Dense(10)

        def call(self, x):
            x = self.flat(x)
            return self.head(self.deaf(x * 0 + 1)) + self.past(x)

    return make_classifier(framework, Model(), (2, 2, 3), 10)


def scaled_classifier(framework, lenet, by):
    """Return a classifier whose logits are so far apart that their gradient underflows."""
    if framework == "pytorch":
        from torch import nn

        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = lenet[framework]

            def forward(self, x):
                return self.inner(x) * by

        return make_classifier(framework, Scaled().eval())
    import keras

    inner = lenet[framework]
    scaled = keras.Sequential([keras.Input((28, 28, 1)), inner, keras.layers.Rescaling(by)])
    return make_classifier(framework, scaled)


def test_influence_that_underflows_is_told(framework, lenet, images):
    classifier = scaled_classifier(framework, lenet, 60.0)
    # Keras numbers the models of a process.
    inner = "inner" if framework == "pytorch" else lenet[framework].name
    parameters = {"layer": f"{inner}.classifier.0"}
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False, **parameters)
    with pytest.warns(UserWarning, match=r"[0-9.]+% of the benign images have no influence"):
        nip.fit(images["bank"][0][:60])
    calm = NIPPreprocessor.for_estimator(
        classifier, verbose=False, confidence="logit", **parameters
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calm.fit(images["bank"][0][:60])


def test_a_model_that_gives_nan_for_an_image_is_told(lenet, digits):
    import torch
    from torch import nn

    class Fragile(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = lenet["pytorch"]

        def forward(self, x):
            bright = x.amax(dim=(1, 2, 3), keepdim=True)
            return self.inner(x) + torch.where(bright >= 1, torch.nan, 0.0).flatten(1)

    nip = NIPPreprocessor.for_estimator(make_classifier("pytorch", Fragile()), verbose=False)
    with pytest.raises(ValueError, match="NaN or infinite values, or gradients that are, for"):
        nip.fit(digits["bank"][0][:20])


@pytest.mark.parametrize("retrieval", ["nearest", "class"])
def test_without_convolutions_layers_that_could_be_meant_are_named(framework, retrieval):
    if framework == "pytorch":
        from torch import nn

        body = [nn.Linear(784, 40), nn.ReLU(), nn.Linear(40, 20), nn.ReLU(), nn.Linear(20, 10)]
        model, first, last = nn.Sequential(nn.Flatten(), *body), "1", "5"
    else:
        import keras

        sizes = {"first": 40, "second": 20, "last": 10}
        layers = [keras.layers.Dense(size, name=name) for name, size in sizes.items()]
        flat = keras.layers.Flatten()
        model = keras.Sequential([keras.Input((28, 28, 1)), flat, *layers])
        first, last = "first", "last"
    classifier = make_classifier(framework, model)
    parameters = {"layer": f"{last}:input", "k1": 1, "k2": 1}
    with pytest.raises(ValueError, match=rf"Name (a layer|layers): .*{first}") as error:
        NIPPreprocessor.for_estimator(classifier, **parameters, retrieval=retrieval)
    assert last not in str(error.value).rpartition(":")[2]
    named = {"nearest": {"layer": first}, "class": {"evidence": {
        "name": "shallow", "layers": [first]}}}[retrieval]  # fmt: skip
    nip = NIPPreprocessor.for_estimator(
        classifier, **parameters, retrieval={"name": retrieval, **named}
    )
    assert first in repr(nip.retrieval)
