"""Checks for ART preprocessors to pass, in the manner of scikit-learn's `check_estimator`.

`check_preprocessor` runs them all, `preprocessor_checks` lists them for a test case each.
"""

from collections.abc import Collection

from art.defences.preprocessor.preprocessor import Preprocessor

from art_nip.testing import copies, gradients, outputs, traces
from art_nip.testing.assertions import Array, Check, require
from art_nip.utils.validation import nearest_name

__all__ = ["check_preprocessor", "preprocessor_checks"]

# Traces before anything else: a second call changes nothing that a first has changed for good.
_CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (*traces.CHECKS, *outputs.CHECKS, *gradients.CHECKS, *copies.CHECKS)
}


def check_preprocessor(preprocessor: Preprocessor, x: Array, *, skip: Collection[str] = ()) -> None:
    """Put a preprocessor through every check and report all that fail.

    :param preprocessor: a preprocessor that keeps the shape of its input, fitted if it needs to be.
        It is called many times, and its `set_params` is called with the values that it has.
    :param x: inputs valid for `preprocessor`, float32 of shape (N, ...) with N >= 2. They are not
        changed.
    :param skip: names of checks to leave out, such as those that compare the outputs of two calls,
        for a preprocessor that draws random numbers.
    :raises AssertionError: with a line for each check that failed: its name, and what it found.
    :raises TypeError: if `x` is not a float32 array.
    :raises ValueError: if `x` holds fewer than two inputs, or `skip` a name that is no check's.
    """
    for name in skip:
        if name not in _CHECKS:
            nearest = nearest_name(name, _CHECKS)
            raise ValueError(f"skip={name!r} is not a check. The nearest name is {nearest!r}.")
    failures = []
    for name, check in _CHECKS.items():
        if name not in skip:
            try:
                check(preprocessor, x)
            except AssertionError as failure:
                failures.append(str(failure))
    require(not failures, "\n".join(failures))


def preprocessor_checks() -> tuple[Check, ...]:
    """List the checks in the order in which `check_preprocessor` runs them.

    Those of `forward` do nothing for a preprocessor of neither PyTorch nor TensorFlow. In a test::

        @pytest.mark.parametrize("check", preprocessor_checks(), ids=lambda check: check.__name__)
        def test_my_preprocessor(check, my_preprocessor, x):
            check(my_preprocessor, x)

    :return: functions of a preprocessor and inputs, both as `check_preprocessor` takes them, which
        raise as it does.
    """
    return tuple(_CHECKS.values())
