"""Whatever arrays a file of NumPy holds: images and labels as promised, or its name and why not."""

from __future__ import annotations

import warnings

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from art_nip import data

kinds = st.one_of(
    arrays.scalar_dtypes(),
    arrays.unicode_string_dtypes(),
    st.sampled_from([np.uint8, np.float32, np.float64, np.int64]).map(np.dtype),
)
image_shapes = st.one_of(
    arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4),
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 5), st.sampled_from([1, 3])),
)
any_images = st.one_of(
    arrays.arrays(kinds, image_shapes),
    arrays.arrays(np.float32, image_shapes, elements=st.floats(0, 1, width=32)),
    arrays.arrays(np.uint8, image_shapes),
)
any_labels = st.one_of(
    arrays.arrays(kinds, arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)),
    arrays.arrays(np.int64, st.integers(0, 3), elements=st.integers(0, 5)),
)


@settings(max_examples=100)
@given(x=any_images, y=any_labels, names=st.none() | st.lists(st.text(max_size=3), max_size=3))
def test_any_arrays_are_read_or_refused(tmp_path_factory, x, y, names):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "any-test.npz"
    np.savez(path, x=x, y=y, **({} if names is None else {"names": np.array(names)}))
    refusal = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found, labels, classes = data.load("any", "test", folder=folder, channels_first=False)
    except ValueError as error:
        refusal = str(error)
    if refusal is not None:
        assert str(path) in refusal
        return
    assert (found.dtype, labels.dtype) == (np.float32, np.int64)
    assert found.ndim == 4
    assert found.shape[3] in (1, 3)
    assert len(found) == len(labels) == len(x)
    assert found.min(initial=0) >= 0
    assert found.max(initial=0) <= 1
    np.testing.assert_array_equal(labels, y)
    assert labels.min() >= 0
    assert len(classes) > labels.max()
