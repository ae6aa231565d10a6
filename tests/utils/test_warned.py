"""Warnings point at the line of the user, whatever is called in between."""

import warnings
from pathlib import Path
from types import FunctionType

import pytest

from art_nip.utils.warned import warn


def gives(*_):
    warn("Something is odd.")


def passes_on(first, *others):
    first(*others)


def of_module(function, name):
    """Return a function as if it stood in a module."""
    return FunctionType(function.__code__, {**function.__globals__, "__name__": name})


GIVES = of_module(gives, "art_nip.nip.preprocessor")


@pytest.mark.parametrize(
    "between", [(), ("art_nip.nip.preprocessor",), ("art", "art.estimators.estimator", "art_nip")]
)
def test_calls_of_the_package_and_of_art_are_passed_over(between):
    calls = [*(of_module(passes_on, name) for name in between), GIVES]
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        calls[0](*calls[1:])
    (one,) = found
    assert one.filename == __file__
    assert "calls[0](" in Path(__file__).read_text().splitlines()[one.lineno - 1]


def test_names_that_begin_alike_are_the_users():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        of_module(passes_on, "artful")(GIVES)
    assert found[0].lineno == passes_on.__code__.co_firstlineno + 1
