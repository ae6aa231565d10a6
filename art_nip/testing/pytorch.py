"""The side of PyTorch of the checks: `forward` of a preprocessor, and what should not change."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch

from art_nip.testing.assertions import Array, require


class Native:
    """`forward` and its gradient, from arrays to arrays."""

    def __init__(self, preprocessor: PreprocessorPyTorch) -> None:
        self.preprocessor = preprocessor

    def forward(self, x: Array, y: Array | None = None) -> tuple[Array, Array | None]:
        with torch.no_grad():
            labels = None if y is None else self._tensor(y)
            result, labels = self.preprocessor.forward(self._tensor(x), labels)
        return result.cpu().numpy(), None if labels is None else labels.cpu().numpy()

    def vector_jacobian_product(self, x: Array, grad: Array) -> Array:
        given = self._tensor(x).requires_grad_()
        result, _ = self.preprocessor.forward(given)
        require(result.requires_grad, "the output of forward does not depend on x for autograd")
        (gradient,) = torch.autograd.grad(result, given, self._tensor(grad))
        require(given.grad is None, "forward leaves a .grad on its input")
        return np.asarray(gradient.cpu())

    def _tensor(self, values: Array) -> Any:
        return torch.tensor(values, device=self.preprocessor.device)


def _tensor_state(tensor: Any) -> dict[str, Any]:
    if tensor.is_inference():
        return {}  # It counts no writes, and cannot require a gradient.
    grad = tensor.grad if tensor.is_leaf else None
    return {
        "requires_grad": tensor.requires_grad,
        "grad": grad is not None and (id(grad), grad._version),
        # The number of writes to it, cheaper to keep than its values.
        "value": tensor._version,
    }


def _module_state(module: Any) -> dict[str, Any]:
    hooks = {name: len(of) for name, of in vars(module).items() if name.endswith("_hooks")}
    return {"training": module.training, **hooks}


STATES: dict[type, Callable[[Any], dict[str, Any]]] = {
    torch.Tensor: _tensor_state,
    torch.nn.Module: _module_state,
}
"""Of which things no state may change, and what that state is."""
