"""The checks of `art_nip.testing`, on ART's own preprocessors and on some broken on purpose:
what they find in ART, and that each of them can fail, for its own reason.
"""

import gc
import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
import tensorflow as tf
import torch
from art.defences.preprocessor import (
    FeatureSqueezing,
    GaussianAugmentation,
    JpegCompression,
    SpatialSmoothing,
    SpatialSmoothingPyTorch,
    SpatialSmoothingTensorFlowV2,
    TotalVarMin,
)
from art.defences.preprocessor.preprocessor import (
    Preprocessor,
    PreprocessorPyTorch,
    PreprocessorTensorFlowV2,
)
from art.preprocessing.standardisation_mean_std import (
    StandardisationMeanStd,
    StandardisationMeanStdPyTorch,
    StandardisationMeanStdTensorFlow,
)
from sklearn.datasets import load_digits, load_sample_images

from art_nip.testing import check_preprocessor, preprocessor_checks

Array = np.ndarray[Any, np.dtype[Any]]
CHECKS = {check.__name__: check for check in preprocessor_checks()}
# Those that a preprocessor which draws random numbers cannot pass.
COMPARISONS = (
    "check_repeatable",
    "check_batch_of_one",
    "check_float64",
    "check_memory_layout",
    "check_params",
    "check_deepcopy",
    "check_pickle",
)


@pytest.fixture(autouse=True, scope="module")
def _few_objects() -> Iterator[None]:
    """Put what the imports made out of sight of `check_no_trace`: half a million objects."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def digits() -> Array:
    """Four digits, grey, (4, 8, 8, 1)."""
    return (load_digits().images[:4, ..., None] / 16).astype(np.float32)


def crops() -> Array:
    """A roof, the sky and a petal, in colour, (3, 12, 12, 3)."""
    china, flower = load_sample_images().images
    pieces = [china[150:162, 300:312], china[10:22, 10:22], flower[200:212, 300:312]]
    return (np.stack(pieces) / 255).astype(np.float32)


def channels_first(x: Array) -> Array:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))


# --- What the checks find in ART 1.20.1 ---

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


# --- That each check can fail ---


class Halve(Preprocessor):
    """A sound preprocessor, for the broken ones to differ from in one thing."""

    params: ClassVar = ["factor", "clip_values"]

    def __init__(self) -> None:
        super().__init__(is_fitted=True)
        self.factor = 0.5
        # Bounds per channel, of which float32 has no exact value.
        self.clip_values = (np.full(3, 0.1), np.full(3, 0.4))

    def __call__(self, x: Array, y: Any = None) -> tuple[Array, Any]:
        return np.clip(x * self.factor, *np.float32(self.clip_values)), y

    def estimate_gradient(self, x: Array, grad: Array) -> Array:
        return grad * self.factor


class MutatesInput(Halve):
    def __call__(self, x, y=None):
        x *= self.factor
        return np.clip(x, *np.float32(self.clip_values)), y


class MutatesGradient(Halve):
    def estimate_gradient(self, x, grad):
        grad *= self.factor
        return grad


class ReturnsItsInput(Preprocessor):
    def __call__(self, x, y=None):
        return x, y


class ReusesItsOutput(Halve):
    def __call__(self, x, y=None):
        if getattr(self, "buffer", x[:0]).shape != x.shape:
            self.buffer = np.empty_like(x)
        self.buffer[:] = super().__call__(x)[0]
        return self.buffer, y


class Flattens(Halve):
    def __call__(self, x, y=None):
        return super().__call__(x)[0].reshape(len(x), -1, 3), y


class ReturnsAList(Halve):
    def __call__(self, x, y=None):
        return list(super().__call__(x)[0]), y


class ReturnsFloat64(Halve):
    def __call__(self, x, y=None):
        return super().__call__(x)[0].astype(np.float64), y


class LeavesTheRange(Halve):
    def __call__(self, x, y=None):
        return x * 1.1, y


class DividesByZero(Preprocessor):
    def __call__(self, x, y=None):
        return np.where(x == x.min(initial=1), np.float32(np.inf), x), y


class ForgetsLabels(Halve):
    def __call__(self, x, y=None):
        return super().__call__(x)[0], None


class ConvertsLabels(Halve):
    def __call__(self, x, y=None):
        return super().__call__(x)[0], None if y is None else y.astype(np.float64)


class InventsLabels(Halve):
    def __call__(self, x, y=None):
        return super().__call__(x)[0], np.zeros(len(x)) if y is None else y


class HasAFlagOfOne(Halve):
    apply_predict = 1


class PrintsItsModel(Halve):
    def __repr__(self):
        return "Halve(model=" + 200 * "Conv2d(3, 3)" + ")"


class CannotPrint(Halve):
    def __repr__(self):
        return self.name


class DrawsAtRandom(Halve):
    draws = itertools.count()

    def __call__(self, x, y=None):
        # By golden sections: no two draws in a row are alike, as real ones may happen to be.
        return super().__call__(x * np.float32(next(self.draws) * 0.618 % 1))


class LooksAtTheBatch(Halve):
    def __call__(self, x, y=None):
        return super().__call__(x - 0.5 * x.max(axis=0, initial=0))[0], y


class RefusesEmptyBatch(Halve):
    def __call__(self, x, y=None):
        assert x.min() >= 0
        return super().__call__(x, y)


class RefusesFloat64(Halve):
    def __call__(self, x, y=None):
        if x.dtype != np.float32:
            raise TypeError("expected scalar type Float\nbut found Double")
        return super().__call__(x, y)


class RoundsFloat64(Halve):
    def __call__(self, x, y=None):
        return super().__call__(x.astype(np.float16) if x.dtype == np.float64 else x, y)


class ReadsMemory(Halve):
    def __call__(self, x, y=None):
        return super().__call__(x.ravel(order="K").reshape(x.shape), y)


class SumsGradients(Halve):
    def estimate_gradient(self, x, grad):
        return grad.sum(axis=0)


class HidesItsGradient(Halve):
    def estimate_gradient(self, x, grad):
        return np.zeros_like(grad)


class TakesRootOfGradient(Halve):
    def estimate_gradient(self, x, grad):
        with np.errstate(invalid="ignore"):
            return np.sqrt(grad)


class SignsGradient(Halve):
    def estimate_gradient(self, x, grad):
        return np.sign(grad).astype(np.int8)


class RefusesClassGradients(Halve):
    def estimate_gradient(self, x, grad):
        return grad * np.ones_like(x)


class ReversesChannels(Halve):
    """Of gradients of x; of class gradients it reverses the rows."""

    def estimate_gradient(self, x, grad):
        return grad[:, :, :, ::-1]


class MisnamesParam(Halve):
    params: ClassVar = ["scale"]


class ScalesParam(Halve):
    def set_params(self, **kwargs):
        self.factor = kwargs["factor"] / 2


class RefusesCopies(Halve):
    def __deepcopy__(self, memo):
        raise NotImplementedError


class HoldsALambda(Halve):
    def __init__(self):
        super().__init__()
        self.scale = lambda x: x


class CopiesHalf(Halve):
    def __getstate__(self):
        return vars(self) | {"factor": 0.25}


class HalvePyTorch(PreprocessorPyTorch):
    """Sound too."""

    def forward(self, x, y=None):
        return x * 0.5, y


class WithModel(HalvePyTorch):
    """Halves with a model, whose weights and mode it should leave alone."""

    def __init__(self):
        super().__init__()
        self.model = torch.nn.Sequential(torch.nn.BatchNorm1d(3), torch.nn.Dropout()).eval()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.scale.grad = torch.ones(())
        with torch.inference_mode():
            self.factor = torch.tensor(2.0)

    def forward(self, x, y=None):
        return x * self.scale.detach(), y


class MadeAnew:
    """Copies and pickles by its constructor, for those that hold what cannot be copied."""

    def __reduce__(self):
        return type(self), ()


class LeavesGradients(WithModel):
    """`estimate_gradient` of ART's base class calls `backward`."""

    def forward(self, x, y=None):
        return x * self.scale, y


class LeavesHook(MadeAnew, WithModel):
    def forward(self, x, y=None):
        self.model.register_forward_hook(lambda *_: None)
        return super().forward(x, y)


class LeavesTraining(WithModel):
    def forward(self, x, y=None):
        self.model.train()
        return super().forward(x, y)


class MovesStatistics(WithModel):
    def forward(self, x, y=None):
        self.model.train()(torch.ones(2, 3))
        self.model.eval()
        return super().forward(x, y)


class FreezesWeights(WithModel):
    def forward(self, x, y=None):
        self.scale.requires_grad_(False)
        return super().forward(x, y)


class LeavesPyTorch(HalvePyTorch):
    """By way of NumPy: attacks get no gradient."""

    def forward(self, x, y=None):
        return torch.from_numpy(x.detach().numpy() * 0.5), y

    def estimate_gradient(self, x, grad):
        return grad * 0.5


class GradientsOnInput(HalvePyTorch):
    def forward(self, x, y=None):
        if x.requires_grad:
            x.sum().backward()
        return x * 0.5, y

    def estimate_gradient(self, x, grad):
        return grad * 0.5


class DisagreesOnGradient(HalvePyTorch):
    def estimate_gradient(self, x, grad):
        return grad


class DisagreesOnForward(HalvePyTorch):
    def __call__(self, x, y=None):
        return x * np.float32(0.6), y


class ForgetsTensorLabels(HalvePyTorch):
    def forward(self, x, y=None):
        return x * 0.5, None

    def __call__(self, x, y=None):
        return super().__call__(x)[0], y


class HalveTensorFlow(PreprocessorTensorFlowV2):
    """Sound too."""

    def forward(self, x, y=None):
        return x * 0.5, y


class GathersTensorFlow(HalveTensorFlow):
    """Sound, with a gradient that TensorFlow keeps sparse; ART's `estimate_gradient` raises."""

    def forward(self, x, y=None):
        return tf.gather(x, tf.range(len(x))), y

    def estimate_gradient(self, x, grad):
        return grad


class LeavesTensorFlow(HalveTensorFlow):
    def forward(self, x, y=None):
        return tf.constant(x.numpy() * 0.5), y

    def estimate_gradient(self, x, grad):
        return grad * 0.5


class WritesVariable(MadeAnew, HalveTensorFlow):
    def __init__(self):
        super().__init__()
        self.calls = tf.Variable(0.0)

    def forward(self, x, y=None):
        self.calls.assign_add(1.0)
        return super().forward(x, y)


class ReplacesCall(MadeAnew, HalveTensorFlow):
    def __init__(self):
        super().__init__()
        self.layer = tf.keras.layers.ReLU()

    def forward(self, x, y=None):
        self.layer.call = self.layer.call
        return super().forward(x, y)


BROKEN: dict[type[Preprocessor], Collection[str]] = {
    MutatesInput: {"check_input_unchanged", "check_memory_layout"},
    MutatesGradient: {"check_input_unchanged"},
    ReturnsItsInput: {"check_no_aliasing"},
    ReusesItsOutput: {"check_no_aliasing"},
    Flattens: {"check_output_shape", "check_batch_of_none"},
    ReturnsFloat64: {"check_output_dtype"},
    LeavesTheRange: {"check_output_range"},
    ForgetsLabels: {"check_labels"},
    ConvertsLabels: {"check_labels"},
    InventsLabels: {"check_labels"},
    HasAFlagOfOne: {"check_flags"},
    PrintsItsModel: {"check_repr"},
    CannotPrint: {"check_repr"},
    DrawsAtRandom: {"check_labels", *COMPARISONS},
    LooksAtTheBatch: {"check_batch_of_one"},
    RefusesEmptyBatch: {"check_batch_of_none"},
    RefusesFloat64: {"check_float64"},
    RoundsFloat64: {"check_float64"},
    ReadsMemory: {"check_memory_layout"},
    SumsGradients: {"check_gradient", "check_class_gradient"},
    HidesItsGradient: {"check_gradient"},
    TakesRootOfGradient: {"check_gradient", "check_class_gradient"},
    SignsGradient: {"check_gradient", "check_class_gradient"},
    RefusesClassGradients: {"check_class_gradient"},
    ReversesChannels: {"check_class_gradient"},
    MisnamesParam: {"check_params"},
    ScalesParam: {"check_params"},
    RefusesCopies: {"check_deepcopy"},
    HoldsALambda: {"check_pickle"},
    CopiesHalf: {"check_deepcopy", "check_pickle"},
    LeavesGradients: {"check_no_trace"},
    LeavesHook: {"check_no_trace"},
    LeavesTraining: {"check_no_trace"},
    MovesStatistics: {"check_no_trace"},
    FreezesWeights: {"check_no_trace"},
    LeavesPyTorch: {"check_forward_gradient", "check_no_trace"},
    GradientsOnInput: {"check_forward_gradient", "check_no_trace"},
    DisagreesOnGradient: {"check_forward_gradient"},
    DisagreesOnForward: {"check_forward"},
    ForgetsTensorLabels: {"check_forward"},
    LeavesTensorFlow: {"check_forward_gradient", "check_no_trace"},
    WritesVariable: {"check_no_trace"},
    ReplacesCall: {"check_no_trace"},
}


def faisurrogate_losses(preprocessor: Preprocessor) -> dict[str, str]:
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
    said = faisurrogate_losses(make())
    assert said.keys() == set(BROKEN[make]), said


# Where nothing can be compared, other checks fail as well.
@pytest.mark.parametrize(
    ("make", "name"),
    [(DividesByZero, "check_output_range"), (ReturnsAList, "check_output_shape")],
)
def test_broken_beyond_comparison(make: type[Preprocessor], name: str) -> None:
    assert name in faisurrogate_losses(make())


def test_every_check_is_shown_to_fail() -> None:
    assert set().union(*BROKEN.values()) == CHECKS.keys()


def test_check_writing_to_x_spares_the_caller() -> None:
    x = crops()
    faisurrogate_losses(MutatesInput())
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
