"""What goes into a layer and what comes out of it, whatever way the layer is called."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Arguments = tuple[Any, ...]
Keywords = Mapping[str, Any]


@dataclass(frozen=True)
class Value:
    """What went into a layer, or came out of it, in one traced pass.

    :param shape: of the tensor; -1 where it is not known. Empty if it is not one tensor.
    :param place: of the tensor in the :class:`~art_nip.estimators.graph.Graph` of the pass; None if
        it has none.
    :param problem: why it cannot be looked at, the end of a sentence that the layer's name begins;
        empty if it can.
    """

    shape: tuple[int, ...] = ()
    place: int | None = None
    problem: str = ""

    @property
    def size(self) -> int:
        """How many values there are for one image."""
        return math.prod(self.shape[1:])

    @property
    def is_vector(self) -> bool:
        """Whether there is one vector for each image."""
        return len(self.shape) >= 2 and not self.problem and set(self.shape[1:-1]) <= {1}


def problem_of_input(
    arguments: Arguments, keywords: Keywords, is_tensor: Callable[[Any], bool]
) -> str:
    """Return why what goes into a layer is not one tensor; an empty text if it is one."""
    given = [*arguments, *keywords.values()]
    if any(_holds(value, is_tensor) for value in given if not is_tensor(value)):
        return "takes tensors inside a list, tuple or dict, and NIP looks at a single tensor"
    count = len({id(value) for value in given if is_tensor(value)})
    if count == 1:
        return ""
    return f"takes {count or 'no'} tensors, and NIP looks at a single one"


def problem_of_output(output: Any, is_tensor: Callable[[Any], bool]) -> str:
    """Return why what comes out of a layer is not one tensor; an empty text if it is one."""
    if is_tensor(output):
        return ""
    return f"gives a {type(output).__name__}, and NIP looks at a single tensor"


def problem_of_axes(shape: Sequence[int], n_images: int) -> str:
    """Return why a tensor does not hold a row for each image; an empty text if it does.

    :param shape: of the tensor, -1 where it is not known.
    :param n_images: how many images the pass was given.
    """
    if len(shape) < 2:
        return f"handles a tensor of {len(shape)} axes, and NIP needs several values for each image"
    if shape[0] in (-1, n_images):
        return ""
    return (
        f"handles a tensor of shape {tuple(shape)} for {n_images} images: its first axis is not "
        "that of the images (tokens come first, or windows or frames are folded into the batch)"
    )


def input_tensor(arguments: Arguments, keywords: Keywords, is_tensor: Callable[[Any], bool]) -> Any:
    """Return the first tensor that goes into a layer; None if there is none."""
    return next((value for value in [*arguments, *keywords.values()] if is_tensor(value)), None)


def with_input(
    arguments: Arguments,
    keywords: Keywords,
    is_tensor: Callable[[Any], bool],
    function: Callable[[Any], Any],
) -> tuple[Arguments, dict[str, Any]]:
    """Return the arguments of a call with the tensor that goes in sent through a function."""
    given = input_tensor(arguments, keywords, is_tensor)
    changed = function(given)
    return (
        tuple(changed if value is given else value for value in arguments),
        {name: changed if value is given else value for name, value in keywords.items()},
    )


def _holds(value: Any, is_tensor: Callable[[Any], bool]) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    if not isinstance(value, (list, tuple)):
        return is_tensor(value)
    return any(_holds(inner, is_tensor) for inner in value)
