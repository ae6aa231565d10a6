"""What a preprocessor returns, what it leaves alone, and what its output may depend on."""

import numpy as np
from art.defences.preprocessor.preprocessor import Preprocessor

from art_nip.testing.assertions import (
    Array,
    as_check,
    output,
    random_gradients,
    require,
    require_finite,
    require_same,
)

_LONGEST_REPR = 2000

# What it returns.


@as_check
def check_output_shape(preprocessor: Preprocessor, x: Array) -> None:
    """The output is a NumPy array of the input's shape."""
    result = output(preprocessor, x)
    require(isinstance(result, np.ndarray), f"the output is a {type(result).__name__}")
    require(result.shape == x.shape, f"the output has shape {result.shape}, not {x.shape}")


@as_check
def check_output_dtype(preprocessor: Preprocessor, x: Array) -> None:
    """float32 in, float32 out: PyTorch models refuse anything else."""
    dtype = output(preprocessor, x).dtype
    require(dtype == np.float32, f"the output for float32 input is {dtype}")


@as_check
def check_output_range(preprocessor: Preprocessor, x: Array) -> None:
    """The output is finite, and within `clip_values` (numbers or arrays) if there are any."""
    result = output(preprocessor, x)
    require_finite(result, "the output")
    clip_values = getattr(preprocessor, "clip_values", None)
    if clip_values is not None:
        # In float32, to which a model rounds output and bounds alike.
        result, low, high = map(np.float32, (result, *clip_values))
        outside = np.count_nonzero((result < low) | (result > high))
        require(outside == 0, f"{outside} values of the output are outside clip_values")


@as_check
def check_labels(preprocessor: Preprocessor, x: Array) -> None:
    """The labels come back as they went in: indices, one-hot or None."""
    indices = np.arange(len(x))
    for labels in (indices, np.eye(len(x), dtype=np.float32)):
        _, returned = preprocessor(x.copy(), labels.copy())
        same = np.array_equal(labels, returned) and labels.dtype == returned.dtype
        require(same, f"the labels {labels.tolist()} come back as {returned!r}")
    _, returned = preprocessor(x.copy())
    require(returned is None, f"without labels, {returned!r} comes back for them")


@as_check
def check_flags(preprocessor: Preprocessor, x: Array) -> None:
    """ART's estimators branch on these three."""
    for name in ("apply_fit", "apply_predict", "is_fitted"):
        flag = getattr(preprocessor, name)
        require(isinstance(flag, bool), f"{name} is {flag!r}, which is not a bool")


@as_check
def check_repr(preprocessor: Preprocessor, x: Array) -> None:
    """It fits a log: the `repr` of a classifier contains that of each of its defences."""
    length = len(repr(preprocessor))
    require(length < _LONGEST_REPR, f"its repr has {length} characters")


# What it leaves alone.


@as_check
def check_input_unchanged(preprocessor: Preprocessor, x: Array) -> None:
    """Neither the call nor `estimate_gradient` writes to its arguments."""
    given, gradients = x.copy(), random_gradients(x.shape)
    preprocessor(given)
    require(np.array_equal(given, x), "the call changes its input")
    preprocessor.estimate_gradient(given, gradients)
    require(np.array_equal(given, x), "estimate_gradient changes its input")
    require(np.array_equal(gradients, random_gradients(x.shape)), "estimate_gradient changes grad")


@as_check
def check_no_aliasing(preprocessor: Preprocessor, x: Array) -> None:
    """The output is the caller's: writing to it changes neither input nor earlier output."""
    first, second = preprocessor(x)[0], preprocessor(x)[0]
    require(not np.shares_memory(first, x), "the output shares memory with the input")
    require(not np.shares_memory(first, second), "two outputs share memory")


# What it may depend on: the values of each input, and nothing else.


@as_check
def check_repeatable(preprocessor: Preprocessor, x: Array) -> None:
    """The same input gives the same output."""
    first = output(preprocessor, x)
    require_same(output(preprocessor, x), first, "the output of a second call")


@as_check
def check_batch_of_one(preprocessor: Preprocessor, x: Array) -> None:
    """The output for an input does not depend on the company it is in."""
    batch = output(preprocessor, x)
    for row in (0, len(x) - 1):
        alone = output(preprocessor, x[row : row + 1])
        require_same(alone, batch[row : row + 1], f"the output for row {row} alone")


@as_check
def check_batch_of_none(preprocessor: Preprocessor, x: Array) -> None:
    """An empty batch, such as "all the inputs an attack succeeded on", gives an empty batch."""
    result = output(preprocessor, x[:0])
    require(result.shape == x[:0].shape, f"an empty batch gives shape {result.shape}")


@as_check
def check_float64(preprocessor: Preprocessor, x: Array) -> None:
    """float64, which several of ART's attacks hand over, gives what float32 gives."""
    result = output(preprocessor, x.astype(np.float64))
    require_same(result, output(preprocessor, x), "the output for float64 input")


@as_check
def check_memory_layout(preprocessor: Preprocessor, x: Array) -> None:
    """Arrays transposed, sliced or memory-mapped for reading give what a fresh array gives."""
    read_only = x.copy()
    read_only.setflags(write=False)
    layouts = {
        "Fortran-ordered": np.asfortranarray(x),
        "non-contiguous": np.repeat(x, 2, axis=-1)[..., ::2],
        "read-only": read_only,
    }
    expected = output(preprocessor, x)
    for name, given in layouts.items():
        require_same(preprocessor(given)[0], expected, f"the output for {name} input")


CHECKS = (
    check_output_shape,
    check_output_dtype,
    check_output_range,
    check_labels,
    check_flags,
    check_repr,
    check_input_unchanged,
    check_no_aliasing,
    check_repeatable,
    check_batch_of_one,
    check_batch_of_none,
    check_float64,
    check_memory_layout,
)
