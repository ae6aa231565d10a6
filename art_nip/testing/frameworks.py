"""What the checks ask of any framework: the side of a preprocessor, and the state of things."""

import gc
from collections.abc import Callable
from typing import Any, Protocol

from art.defences.preprocessor.preprocessor import (
    Preprocessor,
    PreprocessorPyTorch,
    PreprocessorTensorFlowV2,
)

from art_nip.testing.assertions import Array
from art_nip.utils.frameworks import Framework, code_of, loaded_code_of

ReadState = Callable[[Any], dict[str, Any]]


class Native(Protocol):
    """`forward` and its gradient, from arrays to arrays."""

    def forward(self, x: Array, y: Array | None = None) -> tuple[Array, Array | None]:
        """Return what `forward` makes of inputs and labels."""

    def vector_jacobian_product(self, x: Array, grad: Array) -> Array:
        """Return the gradient of `forward`, in x, times `grad`."""


def natives(preprocessor: Preprocessor) -> list[Native]:
    """Return the side of a preprocessor's framework, or none: a check can loop over it.

    :param preprocessor: whose class of ART says its framework.
    """
    classes = {
        PreprocessorPyTorch: Framework.PYTORCH,
        PreprocessorTensorFlowV2: Framework.TENSORFLOW,
    }
    return [
        code_of("art_nip.testing", framework).Native(preprocessor)
        for kind, framework in classes.items()
        if isinstance(preprocessor, kind)
    ]


def framework_state() -> list[tuple[Any, ReadState]]:
    """Return all things whose state should not change, and functions that read it.

    It is every live tensor, variable and layer of the frameworks that have been imported, since a
    preprocessor may keep its model anywhere, or not keep it at all.
    """
    readers: dict[type, ReadState] = {}
    for code in loaded_code_of("art_nip.testing"):
        readers |= code.STATES
    things = gc.get_objects()
    # By type first: there are a thousand things to a type.
    of_type = {
        found: read
        for found in set(map(type, things))
        for kind, read in readers.items()
        if issubclass(found, kind)
    }
    return [(thing, of_type[type(thing)]) for thing in things if type(thing) in of_type]
