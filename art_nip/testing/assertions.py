"""What the checks of a preprocessor are made of: inputs, outputs, and sentences where they fail."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor.preprocessor import Preprocessor

Array = npt.NDArray[Any]
Check = Callable[[Preprocessor, Array], None]

TOLERANCE = 1e-5
"""By how much float32 computations of one thing may differ, as a share of its largest value or of
1."""


def as_check(body: Check) -> Check:
    """Let a check fail with a sentence, whatever it raises.

    :param body: a function of a preprocessor and of inputs that it may write to.
    :return: one that refuses inputs that make no batch of float32, and fails as
        `check_preprocessor` does.
    """

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

    return check


def require(condition: bool, otherwise: str) -> None:
    """Fail with a sentence unless a condition holds."""
    # Not an assert statement: `python -O` would turn every check into a pass.
    if not condition:
        raise AssertionError(otherwise)


def require_finite(values: Array, what: str) -> None:
    """Fail unless all values are finite."""
    count = np.count_nonzero(~np.isfinite(values))
    require(count == 0, f"{what} holds {count} values that are not finite")


def require_gradient(values: Array, shape: tuple[int, ...], what: str) -> None:
    """Fail unless values are a finite gradient of the right shape."""
    require(values.shape == shape, f"{what} has shape {values.shape}, not {shape}")
    require(np.issubdtype(values.dtype, np.floating), f"{what} is {values.dtype}, not floating")
    require_finite(values, what)


def require_same(actual: Array, expected: Array, what: str) -> None:
    """Fail unless values are those expected, to rounding in float32."""
    require(actual.shape == expected.shape, f"{what} is {actual.shape}, not {expected.shape}")
    with np.errstate(invalid="ignore"):  # inf - inf, which differs
        difference = float(np.abs(actual - expected).max(initial=0))
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    require(difference <= TOLERANCE * scale, f"{what} is off by up to {difference:.2g}")


def output(preprocessor: Preprocessor, x: Array) -> Array:
    """Return the output for a copy: writing to the input shall fail one check, not them all."""
    result: Array = preprocessor(x.copy())[0]
    return result


def random_gradients(shape: tuple[int, ...]) -> Array:
    """Return the same random numbers for a shape each time."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
