"""Each check of `art_nip.testing` can fail, and fails for its own reason."""

from typing import Any

import numpy as np
import pytest
from art.defences.preprocessor.preprocessor import Preprocessor

from art_nip.testing import check_preprocessor
from tests.testing.broken import (
    BROKEN,
    DividesByZero,
    GathersTensorFlow,
    Halve,
    HalvePyTorch,
    HalveTensorFlow,
    MutatesInput,
    PrintsItsModel,
    RefusesFloat64,
    ReturnsAList,
    ReturnsFloat64,
    WithModel,
)
from tests.testing.inputs import CHECKS, crops


def failures(preprocessor: Preprocessor) -> dict[str, str]:
    """Names of the checks that fail, and what they say."""
    said = {}
    for name, check in CHECKS.items():
        try:
            check(preprocessor, crops())
        except AssertionError as failure:
            said[name] = str(failure)
    return said


@pytest.mark.parametrize(
    "make", [Halve, HalvePyTorch, WithModel, HalveTensorFlow, GathersTensorFlow]
)
def test_sound_passes(make: type[Preprocessor]) -> None:
    check_preprocessor(make(), crops())


@pytest.mark.parametrize("make", BROKEN, ids=lambda make: make.__name__)
def test_broken_fails_for_its_own_reason(make: type[Preprocessor]) -> None:
    said = failures(make())
    assert said.keys() == set(BROKEN[make]), said


# Where nothing can be compared, other checks fail as well.
@pytest.mark.parametrize(
    ("make", "name"),
    [(DividesByZero, "check_output_range"), (ReturnsAList, "check_output_shape")],
)
def test_broken_beyond_comparison(make: type[Preprocessor], name: str) -> None:
    assert name in failures(make())


def test_every_check_is_shown_to_fail() -> None:
    assert set().union(*BROKEN.values()) == CHECKS.keys()


def test_check_writing_to_x_spares_the_caller() -> None:
    x = crops()
    failures(MutatesInput())
    with pytest.raises(AssertionError):
        check_preprocessor(MutatesInput(), x)
    np.testing.assert_array_equal(x, crops())


def test_report_has_a_line_for_each_failure() -> None:
    class Broken(PrintsItsModel, RefusesFloat64):
        pass

    with pytest.raises(AssertionError) as report:
        check_preprocessor(Broken(), crops(), skip=["check_pickle"])
    assert str(report.value).splitlines() == [
        "Broken fails check_repr: its repr has 2413 characters",
        "Broken fails check_float64: TypeError was raised: "
        "expected scalar type Float but found Double",
    ]


def test_skip() -> None:
    check_preprocessor(ReturnsFloat64(), crops(), skip=("check_output_dtype",))
    with pytest.raises(ValueError, match=r"'check_dtype'.* 'check_output_dtype'"):
        check_preprocessor(ReturnsFloat64(), crops(), skip=("check_dtype",))


@pytest.mark.parametrize(
    ("x", "error"),
    [
        (crops().astype(np.float64), TypeError),
        (crops().tolist(), TypeError),
        (crops()[:1], ValueError),
    ],
)
def test_unsuitable_x(x: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^x must"):
        check_preprocessor(Halve(), x)
