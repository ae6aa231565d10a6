"""Fingerprints: equal for what is equal, in any process; different for what differs."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from art.attacks.evasion import (
    AutoAttack,
    BasicIterativeMethod,
    CarliniL2Method,
    FastGradientMethod,
    ProjectedGradientDescent,
    UniversalPerturbation,
)
from art.defences.preprocessor import FeatureSqueezing, JpegCompression, SpatialSmoothing
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from art_nip import NIPPreprocessor, zoo
from art_nip.benchmark.fingerprints import fingerprint, versions
from art_nip.estimators.single_precision import single_precision
from art_nip.zoo.classifiers import TrainedModel, load, save
from tests.helpers import FRAMEWORKS, ON_GPU, SIMULATED, make_classifier, to_framework

# Plain values

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
dtypes = st.sampled_from(["f4", "f8", "f2", "i8", "u1", "?", "c8", "U3", "M8[s]"])
arrays = hnp.arrays(dtypes, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))


@given(plain)
def test_equal_values_have_one_fingerprint(value):
    rebuilt = eval(repr(value), {"inf": np.inf})
    assert fingerprint(value) == fingerprint(rebuilt)


@given(plain, plain)
def test_different_values_have_different_ones(a, b):
    # repr, since 1 == 1.0 == True and 0.0 == -0.0; of dictionaries the order does not count.
    if repr(a) != repr(b) and a != b:
        assert fingerprint(a) != fingerprint(b)


@given(arrays, st.data())
def test_each_entry_of_an_array_counts(array, data):
    assert fingerprint(array) == fingerprint(array.copy())
    assert fingerprint(array) == fingerprint(np.array(array, order="F"))
    if array.size:
        changed = bytearray(array.tobytes())
        changed[data.draw(st.integers(0, array.nbytes - 1))] ^= 1
        other = np.frombuffer(changed, array.dtype).reshape(array.shape)
        assert fingerprint(array) != fingerprint(other)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, True), (1, 1.0), ("1", 1), (b"1", "1"), (None, "None"), ([1], (1,)), ([1, 2], [2, 1]),
        ([[1], 2], [1, [2]]), (["ab"], ["a", "b"]), ({"a": 1}, {"a": 2}), ({"a": 1}, {"b": 1}),
        ({1, 2}, {1, 3}), (range(3), range(4)),
        (np.zeros(2), np.zeros((2, 1))), (np.zeros(2), np.zeros(2, np.float32)),
        (np.float32(1), np.float64(1)), (np.zeros((0, 3)), np.zeros((0, 4))),
        (np.array([1, "a"], object), np.array([1, "b"], object)),
        (np.random.default_rng(1), np.random.default_rng(2)),
        (partial(int, base=2), partial(int, base=3)),
        (int, float),
    ],
)  # fmt: skip
def test_these_differ(a, b):
    assert fingerprint(a) != fingerprint(b)


def test_the_order_of_keys_and_of_sets_does_not_count():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"x", "y", "z"}) == fingerprint({"z", "y", "x"})


def test_several_values_are_not_run_together():
    assert fingerprint("ab", "c") != fingerprint("a", "bc")
    assert fingerprint([1], [2]) != fingerprint([1, 2])
    assert fingerprint() != fingerprint(None)


def test_an_object_may_contain_itself():
    loop = [1]
    loop.append(loop)
    other = [2]
    other.append(other)
    assert fingerprint(loop) != fingerprint(other)


class Slotted:
    __slots__ = ("size",)

    def __init__(self, size):
        self.size = size


class Plain:
    def __init__(self, size):
        self._size = size

    def method(self):
        return self._size


@pytest.mark.parametrize("kind", [Slotted, Plain, lambda size: Plain(size).method])
def test_attributes_of_objects_count(kind):
    assert fingerprint(kind(1)) == fingerprint(kind(1))
    assert fingerprint(kind(1)) != fingerprint(kind(2))


def adding(k):
    return lambda x: x + k


def adding_by_default(k):
    def add(x, k=k):
        return x + k

    return add


def test_functions_count_by_what_they_do():
    assert fingerprint(adding(1)) == fingerprint(adding(1))
    pairs = (
        (lambda x: x + 1, lambda x: x + 2),
        (lambda x: x.real, lambda x: x.imag),
        (lambda x: lambda: x + 1, lambda x: lambda: x + 2),
        (adding(1), adding(2)),
        (adding_by_default(1), adding_by_default(2)),
    )
    for a, b in pairs:
        assert fingerprint(a) != fingerprint(b)


# Classifiers


def rebuilt(framework, lenet, **keywords):
    """Return a classifier of another model with the same weights."""
    shape = (1, 28, 28) if framework == "pytorch" else (28, 28, 1)
    model = zoo.create("lenet5", framework=framework, input_shape=shape, nb_classes=10)
    zoo.set_weights(model, zoo.get_weights(lenet[framework]))
    return make_classifier(framework, model, **keywords)


def test_a_rebuilt_classifier_is_equal(framework, classifier, lenet):
    assert fingerprint(rebuilt(framework, lenet)) == fingerprint(classifier)
    assert fingerprint(single_precision(classifier)) == fingerprint(classifier)


def test_use_does_not_change_it(framework, classifier, images):
    before = fingerprint(classifier)
    x, y = images["test"][0][:5], images["test"][1][:5]
    classifier.predict(x)
    classifier.loss_gradient(x, np.eye(10)[y])
    classifier.class_gradient(x, 1)
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(images["bank"][0][:40])
    nip.attach(classifier).predict(x)
    assert fingerprint(classifier) == before


def test_a_single_weight_counts(framework, classifier, lenet):
    other = rebuilt(framework, lenet)
    weights = zoo.get_weights(other.model)
    name = list(weights)[-1]
    weights[name] = weights[name].copy()
    weights[name].flat[0] = np.nextafter(weights[name].flat[0], np.float32(9))
    zoo.set_weights(other.model, weights)
    assert fingerprint(other) != fingerprint(classifier)


@pytest.mark.parametrize(
    "keywords",
    [
        {"preprocessing": (0.1, 0.5)},
        {"clip_values": (0, 2)},
        {"preprocessing_defences": JpegCompression((0, 1))},
        {"preprocessing_defences": JpegCompression((0, 1), quality=10)},
    ],
)
def test_settings_of_a_classifier_count(framework, classifier, lenet, keywords):
    other = make_classifier(framework, lenet[framework], **keywords)
    assert fingerprint(other) != fingerprint(classifier)
    again = make_classifier(framework, lenet[framework], **keywords)
    assert fingerprint(other) == fingerprint(again)


def test_settings_of_pytorch_modules_count_though_they_are_no_weights():
    import torch
    from torch import nn

    class Scaled(nn.Module):
        def __init__(self, scale, buffer=1.0):
            super().__init__()
            self.scale = scale
            self.register_buffer("hidden", torch.tensor(buffer), persistent=False)

    def model(*arguments):
        return nn.Sequential(nn.Identity(), Scaled(*arguments))

    values = [model(1.0), model(2.0), model(torch.tensor(2.0)), model((1.0, 2.0)), model(1.0, 2.0)]
    assert len({fingerprint(each) for each in values}) == len(values)
    assert fingerprint(model(1.0)) == fingerprint(model(1.0))
    trained = model(1.0).train()
    assert fingerprint(trained) == fingerprint(model(1.0).eval())


def test_the_loss_counts_since_attacks_climb_it(lenet):
    from art.estimators.classification import PyTorchClassifier, TensorFlowV2Classifier
    from keras.losses import SparseCategoricalCrossentropy
    from torch import nn

    def of_torch(smoothing):
        loss = nn.CrossEntropyLoss(label_smoothing=smoothing)
        return PyTorchClassifier(lenet["pytorch"], loss, (1, 28, 28), 10)

    def of_keras(from_logits):
        loss = SparseCategoricalCrossentropy(from_logits=from_logits)
        return TensorFlowV2Classifier(lenet["tensorflow"], 10, (28, 28, 1), loss_object=loss)

    for make in (of_torch, of_keras):
        assert fingerprint(make(0)) == fingerprint(make(0))
        assert fingerprint(make(0)) != fingerprint(make(1))


def test_training_may_be_prepared_without_changing_it(framework, classifier, lenet):
    if framework == "pytorch":
        import torch

        optimizer = torch.optim.Adam(lenet[framework].parameters())
    else:
        import keras

        optimizer = keras.optimizers.Adam()
    other = make_classifier(framework, lenet[framework], optimizer=optimizer)
    assert fingerprint(other) == fingerprint(classifier)


def keras_model(strides=1, scale=1.0, size=2):
    import keras

    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Rescaling(scale),
            keras.layers.Conv2D(size, 3, strides=strides, padding="same"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    model.set_weights([np.ones_like(each) for each in model.get_weights()])
    return model


def test_settings_of_keras_layers_count_and_their_names_do_not():
    assert fingerprint(keras_model()) == fingerprint(keras_model())
    changed = ({"strides": 2}, {"scale": 2.0}, {"size": 3})
    assert len({fingerprint(keras_model(**each)) for each in ({}, *changed)}) == 4


def test_layers_within_keras_models_count():
    import keras

    def nested(**settings):
        return keras.Sequential([keras.Input((8, 8, 1)), keras_model(**settings)])

    assert fingerprint(nested()) == fingerprint(nested())
    assert fingerprint(nested()) != fingerprint(nested(strides=2))


def test_keras_classifiers_count_by_the_loss_of_their_model(lenet):
    import keras
    from art.estimators.classification import KerasClassifier

    def make(from_logits):
        model = keras.models.clone_model(lenet["tensorflow"])
        model.set_weights(lenet["tensorflow"].get_weights())
        model.compile(loss=keras.losses.CategoricalCrossentropy(from_logits=from_logits))
        return KerasClassifier(model, clip_values=(0, 1))

    assert fingerprint(make(True)) == fingerprint(make(True))
    assert fingerprint(make(True)) != fingerprint(make(False))


def test_black_boxes_count_by_their_function():
    from art.estimators.classification import BlackBoxClassifier

    def make(label):
        return BlackBoxClassifier(
            lambda x: np.eye(10)[np.full(len(x), label)], (1, 28, 28), 10, clip_values=(0, 1)
        )

    assert fingerprint(make(1)) == fingerprint(make(1))
    assert fingerprint(make(1)) != fingerprint(make(2))


def test_bfloat16_has_one_too():
    import torch

    tensor = torch.ones(3, dtype=torch.bfloat16)
    assert fingerprint(tensor) == fingerprint(tensor.clone())
    assert len({fingerprint(each) for each in (tensor, 2 * tensor, tensor.float())}) == 3


# Attacks and defences

PGD = {"eps": 0.3, "eps_step": 0.1, "max_iter": 10, "verbose": False}


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (ProjectedGradientDescent, {"eps": 0.2}),
        (ProjectedGradientDescent, {"norm": 2}),
        (ProjectedGradientDescent, {"max_iter": 11}),
        (ProjectedGradientDescent, {"targeted": True}),
        (ProjectedGradientDescent, {"decay": 1.0}),
        (ProjectedGradientDescent, {"num_random_init": 1}),
        (BasicIterativeMethod, {"eps_step": 0.2}),
        (FastGradientMethod, {"targeted": True}),
        (FastGradientMethod, {"minimal": True}),
        (UniversalPerturbation, {"attacker": "fgsm"}),
        (CarliniL2Method, {"confidence": 0.5}),
    ],
)
def test_each_parameter_of_an_attack_counts(classifier, kind, change):
    base = PGD if kind is ProjectedGradientDescent else {}
    plain = fingerprint(kind(classifier, **base))
    assert fingerprint(kind(classifier, **base)) == plain
    assert fingerprint(kind(classifier, **{**base, **change})) != plain


def test_attacks_of_different_kinds_differ(classifier):
    kinds = (FastGradientMethod, ProjectedGradientDescent, BasicIterativeMethod, CarliniL2Method)
    assert len({fingerprint(kind(classifier)) for kind in kinds}) == len(kinds)


def test_attacks_inside_an_attack_count(classifier):
    def make(eps):
        inside = [FastGradientMethod(classifier, eps=eps)]
        return AutoAttack(classifier, attacks=inside)

    assert fingerprint(make(0.1)) == fingerprint(make(0.1))
    assert fingerprint(make(0.1)) != fingerprint(make(0.2))


def test_an_attack_does_not_count_its_classifier(framework, classifier, lenet):
    """The grid does, for all attacks at once."""
    other = rebuilt(framework, lenet, preprocessing=(0.1, 0.5))
    assert fingerprint(FastGradientMethod(other)) == fingerprint(FastGradientMethod(classifier))


def test_an_attack_that_was_used_is_the_same(classifier, images):
    attack = ProjectedGradientDescent(classifier, **PGD)
    before = fingerprint(attack)
    attack.generate(images["test"][0][:3])
    assert fingerprint(attack) == before


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (JpegCompression, {"quality": 10}),
        (SpatialSmoothing, {"window_size": 5}),
        (FeatureSqueezing, {"bit_depth": 2}),
        (FeatureSqueezing, {"clip_values": (0, 2)}),
    ],
)
def test_each_parameter_of_a_defence_counts(kind, change):
    base = {"clip_values": (0, 1)}
    assert fingerprint(kind(**base)) == fingerprint(kind(**base))
    assert fingerprint(kind(**base)) != fingerprint(kind(**{**base, **change}))


def test_a_nip_counts_by_parameters_fit_and_model(framework, classifier, lenet, images):
    def make(estimator=classifier, n=40, **parameters):
        nip = NIPPreprocessor.for_estimator(estimator, verbose=False, **parameters)
        nip.fit(images["bank"][0][:n])
        return nip

    plain = fingerprint(make())
    assert fingerprint(make()) == fingerprint(make(rebuilt(framework, lenet))) == plain
    used = make()
    used(images["test"][0][:3])
    assert fingerprint(used) == plain
    others = [make(n=41), make(k1=4), make(rebuilt(framework, lenet, preprocessing=(0.1, 0.5)))]
    assert len({plain, *map(fingerprint, others)}) == 4


# Other processes

SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
if sys.argv[4] == "True":
    import tests.device.plugin
from tests.benchmark.fingerprints.test_fingerprints import of_everything
print(json.dumps(of_everything(sys.argv[2], Path(sys.argv[3]))))
"""


def of_everything(framework, weights):
    classifier = load(weights, framework)
    classifier.predict(np.zeros((1, *classifier.input_shape), np.float32))
    nip = NIPPreprocessor.for_estimator(classifier, verbose=False)
    nip.fit(np.random.default_rng(0).random((5, *classifier.input_shape)).astype(np.float32))
    values = {
        "set": {"a", "b", "c", ("d", 1)},
        "dictionary": {"b": 1, "a": {"d", "e"}},
        "array": np.arange(6.0).reshape(2, 3),
        "generator": np.random.default_rng(1),
        "function": adding(3),
        "object": Plain(3),
        "classifier": classifier,
        "nip": nip,
        "attached": nip.attach(classifier),
        "pgd": ProjectedGradientDescent(classifier, **PGD),
        "autoattack": AutoAttack(classifier),
        "uap": UniversalPerturbation(classifier),
        "jpeg": JpegCompression((0, 1)),
    }
    return {name: fingerprint(value) for name, value in values.items()}


def test_other_processes_find_the_same(framework, lenet, tmp_path):
    weights = tmp_path / "lenet.safetensors"
    save(weights, lenet[framework], TrainedModel("lenet5", (1, 28, 28), 10, 0.1, 0.3))
    here = of_everything(framework, weights)
    assert len(set(here.values())) == len(here)
    root = str(Path(__file__).parents[3])
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, root, framework, str(weights), str(SIMULATED)],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        check=True,
        text=True,
    )
    there = json.loads(run.stdout.splitlines()[-1])
    if ON_GPU:
        # A fit in another process may add in another order.
        for found in (here, there):
            del found["nip"], found["attached"]
    assert there == here


def test_versions_are_of_all_that_results_depend_on():
    found = versions()
    assert {"art-nip", "adversarial-robustness-toolbox", "numpy", "torch"} <= set(found)
    if "tensorflow" in FRAMEWORKS:
        assert "keras" in found
        assert {"tensorflow", "tensorflow-cpu"} & set(found)


def test_images_count_in_any_memory_layout(digits):
    x = digits["test"][0][:3]
    last = to_framework(x, "tensorflow")
    assert fingerprint(np.moveaxis(last, -1, 1)) == fingerprint(x) != fingerprint(last)
