"""What holds for any images: ranges, dtypes, orders in memory, sizes of batches, files."""

import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from art_nip import NIPPreprocessor
from art_nip.nip.parameters import Parameters
from tests.helpers import FRAMEWORKS, make_classifier, to_framework
from tests.nip.helpers import fitted

RETRIEVALS = ("similarity", "nearest", "class")


@pytest.fixture(scope="module")
def nips(fitted_nips, class_nips, lenet, digits):
    """A NIP of each retrieval in each framework, and its classifier; tests leave them so."""
    made = {}
    for framework in FRAMEWORKS:
        classifier = make_classifier(framework, lenet[framework])
        bank = to_framework(digits["bank"][0][:100], framework)
        for retrieval in RETRIEVALS:
            given = {"similarity": fitted_nips, "class": class_nips}.get(retrieval)
            nip = given[framework] if given else fitted(classifier, bank, retrieval=retrieval)
            made[framework, retrieval] = nip
    return made


def fortran(x):
    return np.asfortranarray(x)


def strided(x):
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype)
    wide[..., ::2] = x
    return wide[..., ::2]


def reversed_(x):
    return np.ascontiguousarray(x[::-1])[::-1]


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def swapped_bytes(x):
    return x.astype(x.dtype.newbyteorder())


def listed(x):
    return x.tolist()


ORDERS = (np.copy, fortran, strided, reversed_, read_only, swapped_bytes, listed)
DTYPES = ("float64", "float32", "float16", "uint8", "int64", "bool")

layouts = st.tuples(st.sampled_from(ORDERS), st.sampled_from(DTYPES))


def pictures(digits, framework, rows, dtype):
    """Return digits that each dtype can hold: black and white."""
    x = digits["test"][0][rows] > 0.5
    return to_framework(x, framework).astype(dtype)


@pytest.mark.parametrize("retrieval", RETRIEVALS)
@settings(max_examples=12, deadline=None)
@given(layouts, st.lists(st.integers(0, 30), max_size=4), st.sampled_from((1, 3, 128)))
def test_a_call_hangs_on_pictures_only(nips, digits, framework, retrieval, layout, rows, size):
    order, dtype = layout
    nip = nips[framework, retrieval]
    plain = pictures(digits, framework, rows, "float32")
    given_ = order(pictures(digits, framework, rows, dtype))
    before = np.array(given_, copy=True)
    expected = nip(plain)[0]
    found, labels = nip(given_, rows) if len(rows) else nip(plain, rows)
    assert labels is rows
    assert found.dtype == np.float32
    assert found.shape == plain.shape
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.flags.writeable
    assert not np.shares_memory(found, np.asarray(given_))
    assert np.array_equal(np.asarray(given_), before)
    if len(rows):
        tensor = nip._adapter.numpy(nip.forward(np.array(given_, np.float32))[0])
        np.testing.assert_allclose(tensor, expected, atol=1e-6)
        nip.set_params(batch_size=size)
        np.testing.assert_allclose(nip(given_)[0], expected, atol=1e-4)
        nip.set_params(batch_size=128)


@pytest.fixture(scope="module")
def refitted(lenet):
    """A NIP in each framework that is fitted again and again, on graphs traced once."""
    return {
        framework: NIPPreprocessor.for_estimator(
            make_classifier(framework, lenet[framework]), verbose=False, batch_size=16
        )
        for framework in FRAMEWORKS
    }


@settings(max_examples=6, deadline=None)
@given(layouts, st.booleans())
def test_a_fit_hangs_on_pictures_only(refitted, digits, framework, layout, as_one_hot):
    order, dtype = layout
    nip = refitted[framework]
    x = (digits["bank"][0][:40] > 0.5).astype(dtype)
    y = digits["bank"][1][:40]
    nip.fit(to_framework(x.astype(np.float32), framework), y)
    expected = nip.candidates
    nip.fit(order(to_framework(x, framework)), np.eye(10)[y] if as_one_hot else list(y))
    for name, array in vars(nip.candidates).items():
        np.testing.assert_allclose(array, getattr(expected, name), atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 5), st.integers(1, 5), st.sampled_from(("mean", "quorum")),
    st.sampled_from(("float32", "float16", "uint8")), st.floats(-2, 2), st.integers(1, 50),
)  # fmt: skip
def test_a_file_gives_back_what_was_saved(lenet, digits, k1, k2, template, dtype, strength, size):
    classifier = make_classifier("pytorch", lenet["pytorch"])
    nip = fitted(
        classifier, digits["bank"][0][:size], k1=k1, k2=k2, template=template, quorum=0.01,
        bank_dtype=dtype, strength=strength,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nip.safetensors"
        nip.save(path)
        loaded = NIPPreprocessor.load(path, classifier)
        assert loaded.parameters == nip.parameters
        x = digits["test"][0][:5]
        assert np.array_equal(loaded(x)[0], nip(x)[0])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_right(fitted_nips, lenet, digits, saved_bytes, data):
    """Whatever byte is changed: the fit as it was, or a ValueError of ours."""
    # The header is where a byte changes what arrays are; data are the user's.
    end = 8 + int.from_bytes(saved_bytes[:8], "little")
    place = data.draw(st.integers(0, end - 1))
    byte = data.draw(st.integers(0, 255))
    changed = saved_bytes[:place] + bytes([byte]) + saved_bytes[place + 1 :]
    classifier = make_classifier("pytorch", lenet["pytorch"])
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "nip.safetensors"
        path.write_bytes(changed)
        refusal, loaded = None, None
        try:
            loaded = NIPPreprocessor.load(path, classifier)
        except ValueError as error:
            refusal = str(error)
        if loaded is not None:
            assert loaded(digits["test"][0][:2])[0].shape == (2, 1, 28, 28)
        else:
            assert str(path) in refusal


@pytest.fixture(scope="module")
def saved_bytes(fitted_nips, tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "nip.safetensors"
    fitted_nips["pytorch"].save(path)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["template", "similarities", "labels", "codes", "lows"])
def test_arrays_that_no_fit_has_are_refused(fitted_nips, lenet, tmp_path, name):
    from safetensors import safe_open

    path = tmp_path / "nip.safetensors"
    fitted_nips["pytorch"].save(path)
    with safe_open(path, "numpy") as file:
        header = file.metadata()
    arrays = load_file(path)
    classifier = make_classifier("pytorch", lenet["pytorch"])
    for changed in (None, arrays[name][:-1], arrays[name].astype(np.float64)):
        others = {key: array for key, array in arrays.items() if key != name}
        save_file(others if changed is None else {**others, name: changed}, path, header)
        with pytest.raises(ValueError, match=r"nip\.safetensors (is damaged|has an array)"):
            NIPPreprocessor.load(path, classifier)


anything = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.floats(), st.text(max_size=6),
    st.lists(st.floats(), max_size=3), st.dictionaries(st.text(max_size=4), st.integers()),
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(Parameters.names()), anything)
def test_a_parameter_is_taken_or_refused_with_a_sentence(name, value):
    made = refusal = None
    try:
        made = Parameters(**{"clip_values": (0, 1), name: value})
    except (TypeError, ValueError) as error:
        refusal = str(error)
    if made is not None:
        assert Parameters(**made.as_keywords()) == made
    else:
        assert len(refusal.split()) >= 4
        assert "NoneType" not in refusal
