"""What the parameters of attacks must be, said before any attack begins."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from art_nip.utils.validation import check_number, check_positive, check_whole, is_number

SIZES = ("eps", "eps_step", "theta")
"""Parameters that are sizes of perturbations: shares of the images' range."""

FUNCTIONS = ("loss", "adv_criterion")
"""Parameters that are functions, which ART calls without looking at them first."""

POSITIVE = ("learning_rate", "initial_const")
"""Parameters that are numbers above 0; where they are not, ART goes the other way or nowhere."""


class UnsuitableClassifierError(ValueError):
    """The parameters are right, but the attack is made for classifiers of another kind."""


def check_share(name: str, value: Any, largest: float = 1.0) -> None:
    """Raise a ValueError unless a size is a share of the images' range.

    :param name: of the parameter.
    :param value: the share; of `theta`, below 0 too.
    :param largest: the largest that is allowed.
    """
    least = -largest if name == "theta" else 0.0
    try:
        check_number(name, value, least, largest)
    except ValueError as error:
        meant = ""
        if is_number(value) and abs(value) > largest:
            meant = f" Did you mean {value:g}/255?" if abs(value) <= 255 else ""
        raise ValueError(f"{error} It is a share of the range of the images.{meant}") from None


def check_sizes(parameters: Mapping[str, Any]) -> None:
    """Raise a ValueError unless all sizes among parameters are shares of the images' range.

    In L1 and L2 the size of a perturbation is a length, which may well exceed the range of a value.

    :param parameters: by name, with those of an attack within the attack.
    """
    lengths = is_length(parameters)
    eps = parameters.get("eps", 0)
    for name in SIZES:
        if name in parameters:
            # The first step of APGD is twice ε.
            twice = 2 * eps if name == "eps_step" and is_number(eps) else 0
            largest = np.finfo(np.float64).max if lengths else max(1.0, twice)
            check_share(name, parameters[name], largest)
    for value in parameters.values():
        if isinstance(value, Mapping):
            check_sizes(value)


def check_norm(value: Any) -> None:
    """Raise a ValueError unless a norm is that of L1, L2 or another Lp, or of L∞."""
    infinite = isinstance(value, Real) and value == np.inf
    number = infinite or (is_number(value) and value >= 1)
    if not number and value not in ("1", "2", "inf"):
        raise ValueError(f"norm={value!r}; give 1, 2, another p of at least 1, or np.inf.")


def check_starts(parameters: Mapping[str, Any]) -> None:
    """Raise a ValueError if ART is to draw starts from a ball that it cannot draw from.

    :param parameters: by name.
    """
    norm = parameters.get("norm", np.inf)
    if parameters.get("num_random_init", 0) and norm not in (1, 2, np.inf, "inf"):
        raise ValueError(
            f"norm={norm!r} with num_random_init={parameters['num_random_init']}: random starts "
            "are drawn in L1, L2 and L∞ only. Give norm 1, 2 or np.inf, or num_random_init=0."
        )


def number_of(norm: Any) -> Any:
    """Return a norm as the number that all attacks take; `check_norm` allows its text too."""
    return {"1": 1, "2": 2}.get(norm, norm) if isinstance(norm, str) else norm


def check_kind(name: str, value: Any, default: Any) -> None:
    """Raise a ValueError unless a parameter is of the kind of its default.

    :param name: of the parameter.
    :param value: what was given.
    :param default: what it is if nothing is given; None allows anything, and leaves it to the
        attack.
    """
    if name == "norm":
        check_norm(value)
    elif name == "batch_size":
        check_whole(name, value, least=1)
    elif name in FUNCTIONS:
        if value is not None and not callable(value):
            raise ValueError(f"{name}={value!r}; give a function, or None for the attack's own.")
    elif name in POSITIVE:
        check_positive(name, value)
    elif isinstance(default, Mapping):
        if value is not None and not isinstance(value, Mapping):
            raise ValueError(f"{name}={value!r}; give parameters by name, such as {default!r}.")
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name}={value!r}; give True or False.")
    elif isinstance(default, int):
        check_whole(name, value, least=0)
    elif isinstance(default, float):
        check_number(name, value, -np.inf)
    elif isinstance(default, str):
        if not isinstance(value, str):
            raise ValueError(f"{name}={value!r}; give a text, such as {default!r}.")
    elif isinstance(value, (bool, int, float, np.number)) and not is_number(value):
        raise ValueError(f"{name}={value!r}; give a finite number.")


def is_length(parameters: Mapping[str, Any]) -> bool:
    """Return whether sizes are lengths, in L1, L2 or another Lp, and no shares of the range."""
    return not is_linf(parameters.get("norm", np.inf))


def is_linf(norm: Any) -> bool:
    """Return whether a norm that an attack of ART takes is L∞."""
    return norm in (np.inf, "inf")


def scaled(parameters: Mapping[str, Any], factor: Any) -> dict[str, Any]:
    """Return parameters with all sizes among them multiplied, those of an attack within too.

    :param factor: a number, or an array with one for each image.
    """
    return {
        name: scaled(value, factor)
        if isinstance(value, Mapping)
        else value * factor
        if name in SIZES
        else value
        for name, value in parameters.items()
    }
