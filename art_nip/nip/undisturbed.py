"""Keeps modes that the caller has set, of NumPy and of the framework, off NIP's computations."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

import numpy as np

NUMPY_DEFAULTS: dict[str, Any] = {
    "divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"
}  # fmt: skip
"""NumPy's default handling of floating-point errors."""

Method = TypeVar("Method", bound=Callable[..., Any])


def undisturbed(method: Method) -> Method:
    """Return a method that the caller's modes do not affect.

    If the caller lets NumPy raise on underflow, for example, softmax would end in an error.

    :param method: a method of an object whose `_adapter` is an `EstimatorAdapter`.
    """

    @wraps(method)
    def in_default_modes(self: Any, *arguments: Any, **keywords: Any) -> Any:
        with np.errstate(**NUMPY_DEFAULTS), self._adapter.undisturbed():
            return method(self, *arguments, **keywords)

    return cast(Method, in_default_modes)
