"""The gradient of a preprocessor, and its `forward` on the tensors of its framework."""

import numpy as np
from art.defences.preprocessor.preprocessor import Preprocessor

from art_nip.testing.assertions import (
    Array,
    as_check,
    output,
    random_gradients,
    require,
    require_gradient,
    require_same,
)
from art_nip.testing.frameworks import natives


@as_check
def check_gradient(preprocessor: Preprocessor, x: Array) -> None:
    """`estimate_gradient` gives an attack something to follow."""
    result = preprocessor.estimate_gradient(x, random_gradients(x.shape))
    require_gradient(result, x.shape, "estimate_gradient")
    require(bool(result.any()), "estimate_gradient gives zeros only: it would hide from attacks")


@as_check
def check_class_gradient(preprocessor: Preprocessor, x: Array) -> None:
    """Gradients of shape (N, classes, ...), from `class_gradient`, are taken class by class."""
    # More classes than inputs, so that nothing broadcasts by luck.
    gradients = random_gradients((len(x), len(x) + 1, *x.shape[1:]))
    result = preprocessor.estimate_gradient(x, gradients)
    require_gradient(result, gradients.shape, "estimate_gradient")
    alone = preprocessor.estimate_gradient(x, gradients[:, 1])
    require_same(result[:, 1], alone, "estimate_gradient for one class of several")


@as_check
def check_forward(preprocessor: Preprocessor, x: Array) -> None:
    """`forward`, under PyTorch's `no_grad` as in `predict`, gives what the call gives."""
    for native in natives(preprocessor):
        result, labels = native.forward(x, np.arange(len(x)))
        require_same(result, output(preprocessor, x), "the output of forward")
        same = labels is not None and np.array_equal(labels, np.arange(len(x)))
        require(same, f"forward returns the labels 0, 1, ... as {labels!r}")
        _, labels = native.forward(x)
        require(labels is None, f"without labels, forward returns {labels!r} for them")


@as_check
def check_forward_gradient(preprocessor: Preprocessor, x: Array) -> None:
    """Autograd of `forward`, which `loss_gradient` uses, agrees with `estimate_gradient`."""
    for native in natives(preprocessor):
        result = native.vector_jacobian_product(x, random_gradients(x.shape))
        require_gradient(result, x.shape, "autograd of forward")
        estimate = preprocessor.estimate_gradient(x, random_gradients(x.shape))
        require_same(result, estimate, "autograd of forward")


CHECKS = (check_gradient, check_class_gradient, check_forward, check_forward_gradient)
