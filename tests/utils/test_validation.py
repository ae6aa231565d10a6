"""What users give is taken as it is meant, or refused with a sentence that says what to do."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import torch
from art.estimators.classification import KerasClassifier, PyTorchClassifier
from art.estimators.classification.scikitlearn import ScikitlearnLogisticRegression
from art.estimators.regression.scikitlearn import ScikitlearnRegressor
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression

from art_nip.utils.validation import (
    check_choice,
    check_classifier,
    check_images,
    check_number,
    check_whole,
    class_indices,
    nearest_name,
    numeric,
)
from tests.helpers import make_classifier

NOT_NUMBERS = [None, True, False, np.True_, "1", "0.5", [1], math.nan, np.float32("nan"), 1j]


# Numbers


@given(st.integers(1, 100), st.sampled_from([int, np.int8, np.uint16, np.int64]))
def test_whole_numbers_of_any_type_are_taken(value, kind):
    check_whole("k", kind(value), 1)
    check_number("k", kind(value), 1)


@given(st.floats(0, 1, width=16), st.sampled_from([float, np.float16, np.float32, np.float64]))
def test_numbers_of_any_type_are_taken(value, kind):
    check_number("share", kind(value), 0, 1)


@pytest.mark.parametrize("value", [*NOT_NUMBERS, 0, np.int64(0), 1.5, 2.0, np.float32(3)], ids=repr)
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^k=.*; give a whole number of at least 1\.$"):
        check_whole("k", value, 1)


@pytest.mark.parametrize("value", [*NOT_NUMBERS, -0.1, 1.1, math.inf, np.float32(2)], ids=repr)
def test_what_is_no_number_of_the_range_is_refused(value):
    with pytest.raises(ValueError, match=r"^share=.*; give a number from 0 to 1\.$"):
        check_number("share", value, 0, 1)


@pytest.mark.parametrize("value", [*NOT_NUMBERS, -1, math.inf, np.inf, 10**400], ids=lambda v: "")
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(ValueError, match=r"^eps=.*; give a number of at least 0\.$"):
        check_number("eps", value, 0)


# Names


@given(st.sampled_from(["fgsm", "PGD", "deepfool", "Carlini-L2"]), st.randoms())
def test_the_nearest_name_does_not_depend_on_case(name, random):
    mixed = "".join(random.choice([letter.upper(), letter.lower()]) for letter in name)
    assert nearest_name(mixed, ["fgsm", "PGD", "deepfool", "Carlini-L2"]) == name


@given(st.text())
def test_any_text_has_a_nearest_name(text):
    assert nearest_name(text, ["fgsm", "pgd"]) in ("fgsm", "pgd")


def test_a_choice_that_there_is_not():
    check_choice("attack", "pgd", ["fgsm", "pgd"])
    with pytest.raises(
        ValueError, match=r"Unknown attack 'PGD'. Did you mean 'pgd'\? Allowed: fgsm, pgd\."
    ):
        check_choice("attack", "PGD", ["fgsm", "pgd"])


# Labels


@given(st.lists(st.integers(0, 9)), st.sampled_from([np.int64, np.uint8, np.float32]))
def test_indices_and_one_hot_rows_mean_the_same(labels, kind):
    indices = np.array(labels, np.int64)
    one_hot = np.eye(10)[indices].reshape(-1, 10)
    for y in (indices.astype(kind), one_hot.astype(kind)):
        found = class_indices(y, len(labels), 10)
        assert (found.dtype, found.tolist()) == (np.int64, labels)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 1, 10], "from 0 to 9; these range from 0 to 10, and that of image 2 is 10"),
        ([0, -1, 1], "that of image 1 is -1"),
        ([0.5, 1, 2], r"that of image 0 is 0\.5"),
        ([0, math.nan, 2], "that of image 1 is nan"),
        (["0", "1", "2"], r"must be numbers, .* dtype <U1\. Number the classes from 0 to 9"),
        ([0, None, 2], "have dtype object"),
        ([True, False, True], r"may be a mask of images .* from 0 to 9"),
        ([0, 1], r"have shape \(2,\); for 3 images"),
        (np.full((3, 10), 0.1), "a single 1 in each row"),
        (np.full((3, 10), math.nan), "a single 1 in each row"),
    ],
)
def test_labels_that_are_no_classes(y, message):
    with pytest.raises(ValueError, match=message):
        class_indices(y, 3, 10)


# Images


@pytest.mark.parametrize("x", [np.array(["a"]), np.array([None]), np.ones((1, 2), complex)])
def test_what_is_no_array_of_real_numbers(x):
    with pytest.raises(TypeError, match=f"must be an array of numbers; these have dtype {x.dtype}"):
        numeric(x)


@pytest.mark.parametrize("kind", ["numpy", "pytorch", "bfloat16", "tensorflow"])
def test_the_sum_of_many_images_in_half_precision_does_not_overflow(kind):
    x = np.full((2, 3, 256, 256), 1, np.float16)
    assert not np.isfinite(x.sum())
    tensor = {
        "numpy": lambda: x,
        "pytorch": lambda: torch.from_numpy(x),
        "bfloat16": lambda: torch.from_numpy(x).bfloat16(),
        "tensorflow": lambda: importlib.import_module("tensorflow").constant(x),
    }[kind]()
    check_images(tensor, (3, 256, 256), (0, 1))
    broken = x.copy()
    broken[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        check_images(broken, (3, 256, 256), (0, 1))


# Classifiers


def test_classifiers_of_art_are_taken(classifier):
    check_classifier(classifier, "NIP")
    check_classifier(ScikitlearnLogisticRegression(LogisticRegression()), "NIP")


def test_a_keras_classifier_of_art_is_taken():
    check_classifier(KerasClassifier.__new__(KerasClassifier), "NIP")


PYTORCH, KERAS = "PyTorchClassifier(model, loss", "TensorFlowV2Classifier(model, nb_classes"


@pytest.mark.parametrize(
    ("thing", "message"),
    [
        (torch.nn.Linear(2, 2), f"a Linear. It is a model: wrap it as .*{PYTORCH}"),
        (PyTorchClassifier, "the class PyTorchClassifier. Give an object of it"),
        (torch.nn.Linear, "the class Linear. Give an object"),
        (
            ScikitlearnRegressor(LinearRegression()),
            "It is an estimator, but does not",
        ),
        ("resnet20", "a str. Give a PyTorchClassifier or a TensorFlowV2Classifier"),
        (None, "a NoneType. Give a PyTorchClassifier"),
        (LogisticRegression(), "a LogisticRegression. Give a PyTorchClassifier"),
    ],
    ids=lambda value: "" if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_classifier_is_refused_with_what_to_do(thing, message):
    message = message.replace("(", r"\(")
    with pytest.raises(TypeError, match=rf"^NIP takes a classifier of ART, and got .*{message}"):
        check_classifier(thing, "NIP")


def test_a_keras_model_is_refused_with_what_to_do():
    import keras

    message = f"a Sequential. It is a model: wrap it as .*{KERAS}"
    test_what_is_no_classifier_is_refused_with_what_to_do(keras.Sequential(), message)


def test_a_wrapped_model_of_the_advice_is_taken():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
    check_classifier(make_classifier("pytorch", model, (1, 2, 2), 2, clip_values=(0, 1)), "NIP")


def test_images_of_different_sizes_are_refused_with_what_to_do():
    with pytest.raises(TypeError, match="resize them first"):
        numeric([np.zeros((3, 4, 4)), np.zeros((3, 5, 4))])
