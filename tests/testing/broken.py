"""Preprocessors that are broken on purpose, and the checks that each of them must fail."""

import itertools
from collections.abc import Collection
from typing import Any, ClassVar

import numpy as np
import torch
from art.defences.preprocessor.preprocessor import (
    Preprocessor,
    PreprocessorPyTorch,
    PreprocessorTensorFlowV2,
)

from tests.testing.inputs import COMPARISONS, Array


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
    def __deepcopy__(self, _memo):
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
        return torch.from_numpy(x.numpy(force=True) * 0.5).to(x.device), y

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
        import tensorflow as tf

        return tf.gather(x, tf.range(len(x))), y

    def estimate_gradient(self, x, grad):
        return grad


class LeavesTensorFlow(HalveTensorFlow):
    def forward(self, x, y=None):
        import tensorflow as tf

        return tf.constant(x.numpy() * 0.5), y

    def estimate_gradient(self, x, grad):
        return grad * 0.5


class WritesVariable(MadeAnew, HalveTensorFlow):
    def __init__(self):
        import tensorflow as tf

        super().__init__()
        self.calls = tf.Variable(0.0)

    def forward(self, x, y=None):
        self.calls.assign_add(1.0)
        return super().forward(x, y)


class ReplacesCall(MadeAnew, HalveTensorFlow):
    def __init__(self):
        import tensorflow as tf

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
