"""Checks for ART preprocessors to pass, in the manner of scikit-learn's `check_estimator`:
`check_preprocessor` runs them all, `preprocessor_checks` lists them for a test case each.
"""

import copy
import functools
import gc
import pickle
import sys
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor.preprocessor import (
    Preprocessor,
    PreprocessorPyTorch,
    PreprocessorTensorFlowV2,
)

from art_nip.utils.validation import nearest_name

__all__ = ["check_preprocessor", "preprocessor_checks"]

Array = npt.NDArray[Any]
Check = Callable[[Preprocessor, Array], None]
ReadState = Callable[[Any], dict[str, Any]]

_CHECKS: dict[str, Check] = {}
_LONGEST_REPR = 2000
# By how much float32 computations of one thing may differ, relative to its largest value or to 1.
_TOLERANCE = 1e-5


def check_preprocessor(preprocessor: Preprocessor, x: Array, *, skip: Collection[str] = ()) -> None:
    """Put a preprocessor through every check and report all that fail.

    :param preprocessor: A preprocessor that keeps the shape of its input, fitted if it needs to be.
        It is called many times, and its `set_params` is called with the values that it has.
    :param x: Inputs valid for `preprocessor`, float32 of shape (N, ...) with N >= 2. They are not
        changed.
    :param skip: Names of checks to leave out, such as those that compare the outputs of two calls,
        for a preprocessor that draws random numbers.
    :raises AssertionError: With a line for each check that failed: its name, and what it found.
    :raises TypeError: If `x` is not a float32 array.
    :raises ValueError: If `x` holds fewer than two inputs, or `skip` a name that is no check's.
    """
    for name in skip:
        if name not in _CHECKS:
            nearest = nearest_name(name, _CHECKS)
            raise ValueError(f"skip={name!r} is not a check. The nearest name is {nearest!r}.")
    faisurrogate_losses = []
    for name, check in _CHECKS.items():
        if name not in skip:
            try:
                check(preprocessor, x)
            except AssertionError as failure:
                faisurrogate_losses.append(str(failure))
    _require(not faisurrogate_losses, "\n".join(faisurrogate_losses))


def preprocessor_checks() -> tuple[Check, ...]:
    """List the checks in the order in which `check_preprocessor` runs them.

    Those of `forward` do nothing for a preprocessor of neither PyTorch nor TensorFlow. In a test::

        @pytest.mark.parametrize("check", preprocessor_checks(), ids=lambda check: check.__name__)
        def test_my_preprocessor(check, my_preprocessor, x):
            check(my_preprocessor, x)

    :return: Functions of a preprocessor and inputs, both as `check_preprocessor` takes them, which
        raise as it does.
    """
    return tuple(_CHECKS.values())


def _check(body: Check) -> Check:
    """Enter `body` in the table and, whatever it raises, let it fail with a sentence."""

    @functools.wraps(body)
    def check(preprocessor: Preprocessor, x: Array) -> None:
        if not isinstance(x, np.ndarray) or x.dtype != np.float32:
            kind = getattr(x, "dtype", type(x).__name__)
            raise TypeError(f"x must be a NumPy array of float32, not {kind}.")
        if len(x) < 2:
            raise ValueError(f"x must hold two inputs or more to make a batch, not {len(x)}.")
        try:
            body(preprocessor, x.copy())
        except Exception as error:
            how = " ".join(str(error).split())
            if not isinstance(error, AssertionError):
                how = f"{type(error).__name__} was raised: {how}"
            subject = f"{type(preprocessor).__name__} fails {body.__name__}"
            raise AssertionError(f"{subject}: {how}") from error

    _CHECKS[body.__name__] = check
    return check


# Before anything else: the second call changes nothing that the first has changed for good.


@_check
def check_no_trace(preprocessor: Preprocessor, x: Array) -> None:
    """No gradient, hook, mode or weight changes, on the preprocessor's models or on anyone's."""
    before = [(thing, read, read(thing)) for thing, read in _framework_state()]
    preprocessor(x)
    preprocessor.estimate_gradient(x, _gradients(x.shape))
    for native in _natives(preprocessor):
        native.forward(x)
        native.vector_jacobian_product(x, _gradients(x.shape))
    changes = {
        f"{name} of a {type(thing).__name__}"
        for thing, read, state in before
        for name, value in read(thing).items()
        if state[name] != value
    }
    _require(not changes, f"it changes {', '.join(sorted(changes))}")


# What it returns.


@_check
def check_output_shape(preprocessor: Preprocessor, x: Array) -> None:
    """The output is a NumPy array of the input's shape."""
    result = _output(preprocessor, x)
    _require(isinstance(result, np.ndarray), f"the output is a {type(result).__name__}")
    _require(result.shape == x.shape, f"the output has shape {result.shape}, not {x.shape}")


@_check
def check_output_dtype(preprocessor: Preprocessor, x: Array) -> None:
    """float32 in, float32 out: PyTorch models refuse anything else."""
    dtype = _output(preprocessor, x).dtype
    _require(dtype == np.float32, f"the output for float32 input is {dtype}")


@_check
def check_output_range(preprocessor: Preprocessor, x: Array) -> None:
    """The output is finite, and within `clip_values` (numbers or arrays) if there are any."""
    result = _output(preprocessor, x)
    _require_finite(result, "the output")
    clip_values = getattr(preprocessor, "clip_values", None)
    if clip_values is not None:
        # In float32, to which a model rounds output and bounds alike.
        result, low, high = map(np.float32, (result, *clip_values))
        outside = np.count_nonzero((result < low) | (result > high))
        _require(outside == 0, f"{outside} values of the output are outside clip_values")


@_check
def check_labels(preprocessor: Preprocessor, x: Array) -> None:
    """The labels come back as they went in: indices, one-hot or None."""
    indices = np.arange(len(x))
    for labels in (indices, np.eye(len(x), dtype=np.float32)):
        _, returned = preprocessor(x.copy(), labels.copy())
        same = np.array_equal(labels, returned) and labels.dtype == returned.dtype
        _require(same, f"the labels {labels.tolist()} come back as {returned!r}")
    _, returned = preprocessor(x.copy())
    _require(returned is None, f"without labels, {returned!r} comes back for them")


@_check
def check_flags(preprocessor: Preprocessor, x: Array) -> None:
    """ART's estimators branch on these three."""
    for name in ("apply_fit", "apply_predict", "is_fitted"):
        flag = getattr(preprocessor, name)
        _require(isinstance(flag, bool), f"{name} is {flag!r}, which is not a bool")


@_check
def check_repr(preprocessor: Preprocessor, x: Array) -> None:
    """It fits a log: the `repr` of a classifier contains that of each of its defences."""
    length = len(repr(preprocessor))
    _require(length < _LONGEST_REPR, f"its repr has {length} characters")


# What it leaves alone.


@_check
def check_input_unchanged(preprocessor: Preprocessor, x: Array) -> None:
    """Neither the call nor `estimate_gradient` writes to its arguments."""
    given, gradients = x.copy(), _gradients(x.shape)
    preprocessor(given)
    _require(np.array_equal(given, x), "the call changes its input")
    preprocessor.estimate_gradient(given, gradients)
    _require(np.array_equal(given, x), "estimate_gradient changes its input")
    _require(np.array_equal(gradients, _gradients(x.shape)), "estimate_gradient changes grad")


@_check
def check_no_aliasing(preprocessor: Preprocessor, x: Array) -> None:
    """The output is the caller's: writing to it changes neither input nor earlier output."""
    first, second = preprocessor(x)[0], preprocessor(x)[0]
    _require(not np.shares_memory(first, x), "the output shares memory with the input")
    _require(not np.shares_memory(first, second), "two outputs share memory")


# What it may depend on: the values of each input, and nothing else.


@_check
def check_repeatable(preprocessor: Preprocessor, x: Array) -> None:
    """The same input gives the same output."""
    first = _output(preprocessor, x)
    _require_same(_output(preprocessor, x), first, "the output of a second call")


@_check
def check_batch_of_one(preprocessor: Preprocessor, x: Array) -> None:
    """The output for an input does not depend on the company it is in."""
    batch = _output(preprocessor, x)
    for row in (0, len(x) - 1):
        alone = _output(preprocessor, x[row : row + 1])
        _require_same(alone, batch[row : row + 1], f"the output for row {row} alone")


@_check
def check_batch_of_none(preprocessor: Preprocessor, x: Array) -> None:
    """An empty batch, such as "all the inputs an attack succeeded on", gives an empty batch."""
    result = _output(preprocessor, x[:0])
    _require(result.shape == x[:0].shape, f"an empty batch gives shape {result.shape}")


@_check
def check_float64(preprocessor: Preprocessor, x: Array) -> None:
    """float64, which several of ART's attacks hand over, gives what float32 gives."""
    result = _output(preprocessor, x.astype(np.float64))
    _require_same(result, _output(preprocessor, x), "the output for float64 input")


@_check
def check_memory_layout(preprocessor: Preprocessor, x: Array) -> None:
    """Arrays transposed, sliced or memory-mapped for reading give what a fresh array gives."""
    read_only = x.copy()
    read_only.setflags(write=False)
    layouts = {
        "Fortran-ordered": np.asfortranarray(x),
        "non-contiguous": np.repeat(x, 2, axis=-1)[..., ::2],
        "read-only": read_only,
    }
    expected = _output(preprocessor, x)
    for name, given in layouts.items():
        _require_same(preprocessor(given)[0], expected, f"the output for {name} input")


# Its gradient.


@_check
def check_gradient(preprocessor: Preprocessor, x: Array) -> None:
    """`estimate_gradient` gives an attack something to follow."""
    result = preprocessor.estimate_gradient(x, _gradients(x.shape))
    _require_gradient(result, x.shape, "estimate_gradient")
    _require(bool(result.any()), "estimate_gradient gives zeros only: it would hide from attacks")


@_check
def check_class_gradient(preprocessor: Preprocessor, x: Array) -> None:
    """Gradients of shape (N, classes, ...), from `class_gradient`, are taken class by class."""
    # More classes than inputs, so that nothing broadcasts by luck.
    gradients = _gradients((len(x), len(x) + 1, *x.shape[1:]))
    result = preprocessor.estimate_gradient(x, gradients)
    _require_gradient(result, gradients.shape, "estimate_gradient")
    alone = preprocessor.estimate_gradient(x, gradients[:, 1])
    _require_same(result[:, 1], alone, "estimate_gradient for one class of several")


# Its forward on the tensors of its framework.


@_check
def check_forward(preprocessor: Preprocessor, x: Array) -> None:
    """`forward`, under PyTorch's `no_grad` as in `predict`, gives what the call gives."""
    for native in _natives(preprocessor):
        result, labels = native.forward(x, np.arange(len(x)))
        _require_same(result, _output(preprocessor, x), "the output of forward")
        same = labels is not None and np.array_equal(labels, np.arange(len(x)))
        _require(same, f"forward returns the labels 0, 1, ... as {labels!r}")
        _, labels = native.forward(x)
        _require(labels is None, f"without labels, forward returns {labels!r} for them")


@_check
def check_forward_gradient(preprocessor: Preprocessor, x: Array) -> None:
    """Autograd of `forward`, which `loss_gradient` uses, agrees with `estimate_gradient`."""
    for native in _natives(preprocessor):
        result = native.vector_jacobian_product(x, _gradients(x.shape))
        _require_gradient(result, x.shape, "autograd of forward")
        estimate = preprocessor.estimate_gradient(x, _gradients(x.shape))
        _require_same(result, estimate, "autograd of forward")


# Its copies.


@_check
def check_params(preprocessor: Preprocessor, x: Array) -> None:
    """Every name in `params` is an attribute, and `set_params` accepts the values they have."""
    expected = _output(preprocessor, x)
    preprocessor.set_params(
        **{name: getattr(preprocessor, name) for name in type(preprocessor).params}
    )
    result = _output(preprocessor, x)
    _require_same(result, expected, "the output after set_params with the values it has")


@_check
def check_deepcopy(preprocessor: Preprocessor, x: Array) -> None:
    """A deep copy works as the original does."""
    expected = _output(preprocessor, x)
    _require_same(_output(copy.deepcopy(preprocessor), x), expected, "the output of a deep copy")


@_check
def check_pickle(preprocessor: Preprocessor, x: Array) -> None:
    """Out of a pickle it works as before."""
    restored = pickle.loads(pickle.dumps(preprocessor))
    expected = _output(preprocessor, x)
    _require_same(_output(restored, x), expected, "the output after pickling")


def _require(condition: bool, otherwise: str) -> None:
    # Not an assert statement: `python -O` would turn every check into a pass.
    if not condition:
        raise AssertionError(otherwise)


def _require_finite(values: Array, what: str) -> None:
    count = np.count_nonzero(~np.isfinite(values))
    _require(count == 0, f"{what} holds {count} values that are not finite")


def _require_gradient(values: Array, shape: tuple[int, ...], what: str) -> None:
    _require(values.shape == shape, f"{what} has shape {values.shape}, not {shape}")
    _require(np.issubdtype(values.dtype, np.floating), f"{what} is {values.dtype}, not floating")
    _require_finite(values, what)


def _require_same(actual: Array, expected: Array, what: str) -> None:
    _require(actual.shape == expected.shape, f"{what} is {actual.shape}, not {expected.shape}")
    with np.errstate(invalid="ignore"):  # inf - inf, which differs
        difference = float(np.abs(actual - expected).max(initial=0))
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    _require(difference <= _TOLERANCE * scale, f"{what} is off by up to {difference:.2g}")


def _output(preprocessor: Preprocessor, x: Array) -> Array:
    """Call it on a copy: to write to its input is a failure of one check, not of them all."""
    result: Array = preprocessor(x.copy())[0]
    return result


def _gradients(shape: tuple[int, ...]) -> Array:
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


class _PyTorch:
    """`forward` and its gradient, from arrays to arrays."""

    def __init__(self, preprocessor: PreprocessorPyTorch) -> None:
        self.preprocessor = preprocessor

    def forward(self, x: Array, y: Array | None = None) -> tuple[Array, Array | None]:
        import torch

        with torch.no_grad():
            labels = None if y is None else self._tensor(y)
            result, labels = self.preprocessor.forward(self._tensor(x), labels)
        return result.cpu().numpy(), None if labels is None else labels.cpu().numpy()

    def vector_jacobian_product(self, x: Array, grad: Array) -> Array:
        import torch

        given = self._tensor(x).requires_grad_()
        result, _ = self.preprocessor.forward(given)
        _require(result.requires_grad, "the output of forward does not depend on x for autograd")
        (gradient,) = torch.autograd.grad(result, given, self._tensor(grad))
        _require(given.grad is None, "forward leaves a .grad on its input")
        return np.asarray(gradient.cpu())

    def _tensor(self, values: Array) -> Any:
        import torch

        return torch.tensor(values, device=self.preprocessor.device)


class _TensorFlow:
    """`forward` and its gradient, from arrays to arrays."""

    def __init__(self, preprocessor: PreprocessorTensorFlowV2) -> None:
        self.preprocessor = preprocessor

    def forward(self, x: Array, y: Array | None = None) -> tuple[Array, Array | None]:
        import tensorflow as tf

        labels = None if y is None else tf.convert_to_tensor(y)
        result, labels = self.preprocessor.forward(tf.convert_to_tensor(x), labels)
        return result.numpy(), None if labels is None else labels.numpy()

    def vector_jacobian_product(self, x: Array, grad: Array) -> Array:
        import tensorflow as tf

        given = tf.convert_to_tensor(x)
        with tf.GradientTape() as tape:
            tape.watch(given)
            result, _ = self.preprocessor.forward(given)
        gradient = tape.gradient(result, given, output_gradients=tf.convert_to_tensor(grad))
        _require(gradient is not None, "the output of forward does not depend on x for autograd")
        # A gather has a sparse gradient, which has no `numpy()`.
        dense: Array = tf.convert_to_tensor(gradient).numpy()
        return dense


def _natives(preprocessor: Preprocessor) -> list[_PyTorch | _TensorFlow]:
    """Give its framework's side, if it has one: one or none, so that a check can loop over it."""
    if isinstance(preprocessor, PreprocessorPyTorch):
        return [_PyTorch(preprocessor)]
    if isinstance(preprocessor, PreprocessorTensorFlowV2):
        return [_TensorFlow(preprocessor)]
    return []


def _framework_state() -> list[tuple[Any, ReadState]]:
    """Find what should not change, each with a function that reads it.

    It is every live tensor, variable and layer of the frameworks that have been imported, since a
    preprocessor may keep its model anywhere, or not keep it at all.
    """
    readers: dict[type, ReadState] = {}
    if torch := sys.modules.get("torch"):
        readers |= {torch.Tensor: _tensor_state, torch.nn.Module: _module_state}
    if tensorflow := sys.modules.get("tensorflow"):
        readers[tensorflow.Variable] = lambda variable: {"value": variable.numpy().tobytes()}
    if keras := sys.modules.get("keras"):
        readers[keras.Layer] = lambda of: {"trainable": of.trainable, "call": "call" in vars(of)}
    things = gc.get_objects()
    # By type first: there are a thousand things to a type.
    of_type = {
        found: read
        for found in set(map(type, things))
        for kind, read in readers.items()
        if issubclass(found, kind)
    }
    return [(thing, of_type[type(thing)]) for thing in things if type(thing) in of_type]


def _tensor_state(tensor: Any) -> dict[str, Any]:
    if tensor.is_inference():
        return {}  # It counts no writes, and cannot require a gradient.
    grad = tensor.grad if tensor.is_leaf else None
    return {
        "requires_grad": tensor.requires_grad,
        "grad": grad is not None and (id(grad), grad._version),
        # The number of writes to it, cheaper to keep than its values.
        "value": tensor._version,
    }


def _module_state(module: Any) -> dict[str, Any]:
    hooks = {name: len(of) for name, of in vars(module).items() if name.endswith("_hooks")}
    return {"training": module.training, **hooks}
