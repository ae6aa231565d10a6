"""What the checks of `art_nip.testing` find in ART 1.20.1."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from art.defences.preprocessor import (
    FeatureSqueezing,
    GaussianAugmentation,
    JpegCompression,
    SpatialSmoothing,
    SpatialSmoothingPyTorch,
    SpatialSmoothingTensorFlowV2,
    TotalVarMin,
)
from art.defences.preprocessor.preprocessor import Preprocessor
from art.preprocessing.standardisation_mean_std import (
    StandardisationMeanStd,
    StandardisationMeanStdPyTorch,
    StandardisationMeanStdTensorFlow,
)

from tests.testing.inputs import CHECKS, COMPARISONS, Array, channels_first, crops, digits

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.2]
NO_EMPTY_BATCH = {"check_batch_of_none": "an empty batch raises"}
UNPICKLABLE = {"check_pickle": "it holds an object of a class defined inside `__init__`"}
NO_SETTER = {"check_params": "`params` lists apply_fit and apply_predict, which cannot be set"}
RANDOM = dict.fromkeys(COMPARISONS, "random by design")

Case = tuple[Callable[[], Preprocessor], Callable[[], Array], dict[str, str]]
ART: dict[str, Case] = {
    "median": (lambda: SpatialSmoothing(3, clip_values=(0, 1)), crops, {}),
    "median, channels first": (
        lambda: SpatialSmoothing(3, True),
        lambda: channels_first(crops()),
        {},
    ),
    "median, torch": (
        lambda: SpatialSmoothingPyTorch(3, clip_values=(0, 1)),
        digits,
        NO_EMPTY_BATCH | UNPICKLABLE,
    ),
    "median, torch, channels first": (
        lambda: SpatialSmoothingPyTorch(3, channels_first=True),
        lambda: channels_first(crops()),
        NO_EMPTY_BATCH | UNPICKLABLE,
    ),
    "median, TensorFlow": (lambda: SpatialSmoothingTensorFlowV2(3), crops, NO_EMPTY_BATCH),
    "median, TensorFlow, clipped": (
        lambda: SpatialSmoothingTensorFlowV2(3, clip_values=(0, 1)),
        digits,
        dict.fromkeys(
            CHECKS.keys() - {"check_flags", "check_repr"},
            "with clip_values every call raises: it asks a tensor for `clip_by_value`",
        ),
    ),
    "squeezing": (
        lambda: FeatureSqueezing((0, 1), bit_depth=4),
        crops,
        {"check_output_dtype": "float64 comes out"},
    ),
    "JPEG": (lambda: JpegCompression((0, 1), quality=80), crops, NO_EMPTY_BATCH),
    "JPEG, channels first": (
        lambda: JpegCompression((0, 1), quality=80, channels_first=True),
        lambda: channels_first(digits()),
        NO_EMPTY_BATCH,
    ),
    "Gaussian noise": (
        lambda: GaussianAugmentation(0.1, augmentation=False, clip_values=(0, 1)),
        crops,
        RANDOM,
    ),
    "total variation": (lambda: TotalVarMin(clip_values=(0, 1)), lambda: digits()[:2], RANDOM),
    "standardisation": (lambda: StandardisationMeanStd(MEAN, STD), crops, NO_SETTER),
    "standardisation, torch": (
        lambda: StandardisationMeanStdPyTorch(MEAN, STD),
        lambda: channels_first(crops()),
        NO_SETTER,
    ),
    "standardisation, TensorFlow": (
        lambda: StandardisationMeanStdTensorFlow(MEAN, STD),
        crops,
        NO_SETTER,
    ),
}


def art_cases() -> Iterator[Any]:
    """Every check on every case; a defect that a later ART mends shows as a failure here."""
    for case, (make, x, defects) in ART.items():
        for name in CHECKS:
            marks = []
            if name in defects:
                marks = [
                    pytest.mark.xfail(strict=True, raises=AssertionError, reason=defects[name])
                ]
            yield pytest.param(make, x, name, id=f"{case}-{name}", marks=marks)


@pytest.mark.parametrize(("make", "x", "name"), list(art_cases()))
def test_art(make: Callable[[], Preprocessor], x: Callable[[], Array], name: str) -> None:
    CHECKS[name](make(), x())
