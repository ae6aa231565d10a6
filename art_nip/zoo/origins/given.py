"""What users give with an origin, checked: names, shapes, ranges, classes, numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from art_nip.utils.validation import check_whole, is_number
from art_nip.zoo.classifiers import LARGEST_SIDE


def check_name(what: str, name: str, names: Iterable[str]) -> None:
    """Raise a ValueError that says which are spelt alike unless a library has a model.

    :param what: the names are of.
    :param name: what a user wrote.
    :param names: all that the library has: too many for an error.
    """
    known = sorted(names)
    if name not in known:
        near = get_close_matches(name, known, n=5, cutoff=0)
        raise ValueError(
            f"Unknown {what} {name!r}. Did you mean {near[0]!r}? Of its {len(known)} models these "
            f"are spelt most alike: {', '.join(near)}."
        )


def check_arguments(given: Any) -> None:
    """Raise a TypeError unless arguments have names."""
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise TypeError(
            f"arguments={given!r}; give a mapping from names to values, {{name: value}}."
        )


def _listed(what: str, given: Any, advice: str) -> list[Any]:
    if isinstance(given, (str, bytes, Mapping)) or not isinstance(given, Iterable):
        raise TypeError(f"{what}={given!r}; give {advice}.")
    return list(given)


def checked_classes(given: Any) -> tuple[int, ...]:
    """Return the classes to keep, two at least and each once."""
    classes = _listed("classes", given, "a list of classes, as [0, 217]")
    for place, number in enumerate(classes):
        check_whole(f"classes[{place}]", number, 0)
        if number in classes[:place]:
            raise ValueError(f"classes has {number} twice; give each class once.")
    if len(classes) < 2:
        raise ValueError(f"classes={given!r}; give two classes or more.")
    return tuple(map(int, classes))


def checked_shape(given: Any) -> tuple[int, ...]:
    """Return the shape of one image."""
    sizes = _listed("input_shape", given, "three sizes, as [3, 224, 224]")
    if len(sizes) != 3:
        raise ValueError(f"input_shape={given!r}; give three sizes, as [3, 224, 224].")
    for place, size in enumerate(sizes):
        check_whole(f"input_shape[{place}]", size, 1, LARGEST_SIDE)
    return tuple(map(int, sizes))


def checked_range(given: Any) -> tuple[float, float]:
    """Return the range of images."""
    ends = _listed("clip_values", given, "the range of the images, as [0, 1]")
    if len(ends) != 2 or not all(map(is_number, ends)) or not ends[0] < ends[1]:
        raise ValueError(
            f"clip_values={given!r}; give two numbers, the least and the greatest value of a pixel."
        )
    return float(ends[0]), float(ends[1])


def checked_numbers(what: str, given: Any) -> Any:
    """Return a number, or a tuple of them, one for each channel."""
    if is_number(given):
        return float(given)
    values = _listed(what, given, "a number, or a list of one for each channel")
    if not values or not all(is_number(value) and math.isfinite(value) for value in values):
        raise ValueError(f"{what}={given!r}; give a number, or one for each channel.")
    return tuple(map(float, values))
