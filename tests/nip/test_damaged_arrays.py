"""Files whose arrays are not those of a fit are refused, with their name, when they are loaded."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from art_nip import NIPPreprocessor
from art_nip.nip.retrieval import ClassEvidence, GradedViewEvidence
from tests.helpers import FRAMEWORKS, make_classifier, to_framework
from tests.nip.helpers import fitted

ARRAYS = {
    "similarity": ("template", "similarities", "labels", "codes", "lows"),
    "nearest": ("retrieval.vectors",),
    "shallow": ("retrieval.weights.0", "retrieval.bias.0", "retrieval.weights.1"),
    "graded views": ("retrieval.leads",),
}
"""What a file of a retrieval, or of an evidence, holds and can be damaged in."""

CASES = [(kind, name) for kind, names in ARRAYS.items() for name in names]


@pytest.fixture(scope="module")
def files(fitted_nips, class_nips, lenet, digits, tmp_path_factory):
    """A file for each kind and framework, and the classifier that it is for."""
    made = {}
    for framework in FRAMEWORKS:
        classifier = make_classifier(framework, lenet[framework])
        bank = to_framework(digits["bank"][0][:60], framework)
        nips = {
            "similarity": fitted_nips[framework],
            "shallow": class_nips[framework],
            "nearest": fitted(classifier, bank, retrieval="nearest"),
            "graded views": fitted(
                classifier, bank, retrieval=ClassEvidence(evidence=GradedViewEvidence())
            ),
        }
        for kind, nip in nips.items():
            path = tmp_path_factory.mktemp("files") / "nip.safetensors"
            nip.save(path)
            made[framework, kind] = path, classifier
    return made


def with_array(path, name, change):
    """Return a copy of a file in which an array is changed, or missing if it became None."""
    with safe_open(path, "numpy") as file:
        header = file.metadata()
        arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    arrays[name] = change(arrays[name])
    there = {key: np.ascontiguousarray(a) for key, a in arrays.items() if a is not None}
    copy = path.with_name("changed.safetensors")
    save_file(there, copy, header)
    return copy


def filled(value):
    """Return the change that puts a value into the last place, if the dtype can hold it."""

    def change(array):
        array = np.array(array)
        if array.dtype.kind == "f":
            array.reshape(-1)[-1] = value
        else:
            array.reshape(-1)[-1] = -1  # there are no such labels
        return array

    return change


CHANGES = {
    "missing": lambda array: None,
    "shorter": lambda array: array[:-1],
    "flat": lambda array: array.reshape(-1)[None],
    "float16 or uint8": lambda array: array.astype("u1" if array.dtype == "f2" else "f2"),
    "float64": lambda array: array.astype(np.float64),
    "NaN": filled(np.nan),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_another_array_is_refused(files, framework, kind, name, change):
    path, classifier = files[framework, kind]
    copy = with_array(path, name, CHANGES[change])
    with pytest.raises(ValueError, match=r"changed\.safetensors (is damaged: it|has an array)"):
        NIPPreprocessor.load(copy, classifier)


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("similarity", "labels", lambda array: array + 10),
        ("similarity", "similarities", filled(np.inf)),
        ("shallow", "retrieval.bias.0", filled(np.inf)),
        ("shallow", "retrieval.bias.0", lambda array: np.full_like(array, -np.inf)),
        ("shallow", "retrieval.weights.0", filled(-np.inf)),
        ("graded views", "retrieval.leads", lambda array: np.array([2, 1], np.float32)),
    ],
)
def test_values_that_no_fit_has_are_refused(files, kind, name, change):
    path, classifier = files["pytorch", kind]
    with pytest.raises(ValueError, match=r"changed\.safetensors is damaged: it"):
        NIPPreprocessor.load(with_array(path, name, change), classifier)


@pytest.mark.parametrize(
    ("kind", "name", "change"),
    [
        ("shallow", "retrieval.bias.0", filled(-np.inf)),  # of a class that was not learned from
        ("graded views", "retrieval.leads", filled(np.inf)),  # of a view that no image gets
    ],
)
def test_infinite_values_that_a_fit_has_are_read(files, digits, kind, name, change):
    path, classifier = files["pytorch", kind]
    loaded = NIPPreprocessor.load(with_array(path, name, change), classifier)
    assert np.isfinite(loaded(digits["test"][0][:4])[0]).all()
