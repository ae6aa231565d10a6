"""A second device of PyTorch on a machine that has none: `sim:0`.

Its tensors hold real values and have autograd. As those of a GPU do, they refuse to meet tensors of
the host in an operation, and NumPy. Transfers, and waits of the host, are counted.

It stands on the part of PyTorch for backends written in Python, "PrivateUse1". Once it is there, it
is in all of the process.
"""

import copyreg
import functools
from collections import OrderedDict
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import _utils
from torch.autograd.graph import _engine_run_backward
from torch.utils import backend_registration

from tests.device.counting import DOWNLOAD, UPLOAD, WAIT, note

NAME = "sim"
aten = torch.ops.aten

INDEXING = {
    aten.index.Tensor, aten._unsafe_index.Tensor, aten.index_put.default, aten.index_put_.default,
    aten._index_put_impl_.default,
}  # fmt: skip
"""Operations whose indices may be on the host: they are uploaded."""

WAITING = {
    aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default,
    aten.allclose.default, aten.nonzero.default, aten.masked_select.default, aten._unique2.default,
}  # fmt: skip
"""Operations whose result, or its shape, the host has to know."""


class SimulatedTensor(torch.Tensor):
    """A tensor of the device; `values` holds its values on the host."""

    values: torch.Tensor

    @staticmethod
    def __new__(cls, values: torch.Tensor) -> "SimulatedTensor":
        made = torch.Tensor._make_wrapper_subclass(
            cls, values.size(), strides=values.stride(), storage_offset=values.storage_offset(),
            dtype=values.dtype, layout=values.layout, device=f"{NAME}:0",
        )  # fmt: skip
        made.values = values
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return compute(operation, *args, **(kwargs or {}))

    def __repr__(self) -> str:
        return f"SimulatedTensor({self.values})"

    @property
    def data(self) -> torch.Tensor:
        return self.detach()

    @data.setter
    def data(self, other: torch.Tensor) -> None:
        self.values = other.values
        torch.Tensor.data.__set__(self, other)

    def __deepcopy__(self, memo: dict[int, Any]) -> torch.Tensor:
        if not isinstance(self, torch.nn.Parameter):
            return super().__deepcopy__(memo)
        # Without the gradient, as PyTorch copies parameters.
        memo[id(self)] = torch.nn.Parameter(self.detach().clone(), self.requires_grad)
        return memo[id(self)]

    def __getitem__(self, index: Any) -> torch.Tensor:
        return super().__getitem__(_with_tensors(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_with_tensors(index), value)

    def new_tensor(self, data: Any, *, dtype: Any = None, device: Any = None) -> torch.Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=device or self.device)

    def tolist(self) -> Any:
        return self.detach().cpu().tolist()

    def __format__(self, spec: str) -> str:
        return format(self.item() if self.ndim == 0 else repr(self), spec)

    def __reduce_ex__(self, protocol: Any) -> Any:
        if isinstance(self, torch.nn.Parameter):
            return _utils._rebuild_parameter, (self.detach(), self.requires_grad, OrderedDict())
        return _tensor_of_pickle, (self.detach().cpu(), self.requires_grad)

    def numpy(self, *, force: bool = False) -> Any:
        if not force:
            self.__array__()
        return self.detach().cpu().numpy()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        raise TypeError(
            f"can't convert {NAME}:0 device type tensor to numpy. Use Tensor.cpu() to copy the "
            "tensor to host memory first."
        )


# EagerPy, and so Foolbox, knows tensors by the name of their package.
SimulatedTensor.__module__, SimulatedTensor.__qualname__ = "torch", "Tensor"


def _tensor_of_pickle(values: torch.Tensor, requires_grad: bool) -> torch.Tensor:
    return values.to(_device_of_pickle(f"{NAME}:0")).requires_grad_(requires_grad)


def _device_of_pickle(name: str) -> torch.device:
    """Return a device; a process of workers has this one from here on."""
    if name.startswith(NAME):
        import_module("tests.device.plugin")
    return torch.device(name)


def _with_tensors(index: Any) -> Any:
    """Return an index with tensors of the host for sequences: PyTorch makes none here."""
    if isinstance(index, tuple):
        return tuple(map(_with_tensors, index))
    if isinstance(index, list | range | np.ndarray):
        return torch.tensor(index, dtype=None if np.size(index) else torch.int64)
    return index


def compute(operation: Any, *args: Any, **kwargs: Any) -> Any:
    """Run an operation of PyTorch of which a tensor, or the result, is on the device."""
    if torch.is_inference_mode_enabled():
        # There PyTorch takes no operation apart, and makes no views of what was made there.
        with torch.inference_mode(False), torch.no_grad():
            return operation(*args, **kwargs)
    if operation is aten._to_copy.default:
        return _converted(*args, **kwargs)
    tensors: list[torch.Tensor] = []

    def on_host(value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            tensors.append(value)
        return _on_host(value)

    host_args = _mapped(on_host, args)
    host_kwargs = {name: _mapped(on_host, value) for name, value in kwargs.items()}
    if operation is aten.copy_.default:
        _note_transfer(args[1], to_device=_is_here(args[0]))
    else:
        _check_places(operation, tensors)
    if operation in WAITING or (operation in INDEXING and _is_by_mask(args[1])):
        note(WAIT)
    result = operation(*host_args, **host_kwargs)
    if operation is aten._local_scalar_dense.default:
        return result
    # What was changed in place comes back as the very tensor that was given.
    given = {id(_on_host(each)): each for each in tensors}
    return _mapped(lambda each: given[id(each)] if id(each) in given else _on_device(each), result)


def _mapped(function: Any, value: Any) -> Any:
    """Return a value, or the values of a list or tuple, after a function; PyTorch's way is slow."""
    if isinstance(value, list | tuple):
        return type(value)(_mapped(function, each) for each in value)
    return function(value)


def _converted(tensor: torch.Tensor, device: Any = None, **kwargs: Any) -> torch.Tensor:
    """Return a copy of a tensor of another dtype, or on another device."""
    values = aten._to_copy.default(_on_host(tensor), **kwargs)
    to_device = torch.device(device or tensor.device).type == NAME
    _note_transfer(tensor, to_device)
    return SimulatedTensor(values) if to_device else values


def _note_transfer(source: torch.Tensor, to_device: bool) -> None:
    if _is_here(source) != to_device:
        note(UPLOAD if to_device else DOWNLOAD)


def _check_places(operation: Any, tensors: list[torch.Tensor]) -> None:
    """Raise as PyTorch does if tensors of the host, other than numbers, meet those from here."""
    # Numbers go to a GPU with the operation.
    host = [each for each in tensors if not _is_here(each) and each.ndim]
    if not host or not any(map(_is_here, tensors)):
        return
    if operation not in INDEXING or not _is_here(tensors[0]):
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{NAME}:0 and cpu! (in {operation}, on the host: {[tuple(e.shape) for e in host]})"
        )
    note(UPLOAD)


def _is_by_mask(indices: Any) -> bool:
    return any(index is not None and index.dtype == torch.bool for index in indices)


def _is_here(value: Any) -> bool:
    return isinstance(value, SimulatedTensor)


def _on_host(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("cpu")
    return value.values if _is_here(value) else value


def _on_device(value: Any) -> Any:
    return SimulatedTensor(value) if isinstance(value, torch.Tensor) else value


class _Module(backend_registration._DummyBackendModule):
    """`torch.sim`; the state of randomness is the host's."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.float16, torch.bfloat16]

    def get_rng_state(self, device: Any = 0) -> torch.Tensor:
        return torch.zeros(1, dtype=torch.uint8)

    def set_rng_state(self, state: Any, device: Any = 0) -> None:
        pass


_registered: list[torch.library.Library] = []
"""What is registered stays so while the object lives."""


def install() -> None:
    """Make the device known to PyTorch."""
    backend_registration._setup_privateuseone_for_python_backend(NAME, _Module())
    rest = torch.library.Library("_", "IMPL")
    rest.fallback(compute, "PrivateUse1")
    # Autocast changes nothing here.
    rest.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    making = torch.library.Library("aten", "IMPL")
    for operation in (aten.empty.memory_format, aten.empty_strided.default):
        making.impl(operation, _made_by(operation), "PrivateUse1")
    _registered.extend((rest, making))
    copyreg.pickle(torch.device, lambda device: (_device_of_pickle, (str(device),)))
    torch.serialization.add_safe_globals([_tensor_of_pickle, _device_of_pickle])
    torch.autograd._engine_run_backward = _backward_with_checked_places
    torch.tensor, torch.as_tensor = map(_by_way_of_host, (torch.tensor, torch.as_tensor))


def _made_by(operation: Any) -> Any:
    return lambda *args, **kwargs: compute(operation, *args, **kwargs)


def _by_way_of_host(make: Any) -> Any:
    """Return a function that makes tensors: of Python's numbers PyTorch makes none here."""

    @functools.wraps(make)
    def made(data: Any, *, device: Any = None, requires_grad: bool = False, **kwargs: Any) -> Any:
        if device is None or torch.device(device).type != NAME:
            kwargs["device"] = device
            return make(data, **kwargs, **({"requires_grad": True} if requires_grad else {}))
        return make(data, **kwargs).to(device).requires_grad_(requires_grad)

    return made


def _backward_with_checked_places(outputs: Any, gradients: Any, *rest: Any, **keywords: Any) -> Any:
    """Go back through the graph; PyTorch would abort where a gradient is of another device."""
    for output, gradient in zip(outputs, gradients, strict=True):
        if isinstance(gradient, torch.Tensor) and gradient.device != output.device:
            raise RuntimeError(
                f"the gradient is on device {gradient.device}, and what it is of on {output.device}"
            )
    return _engine_run_backward(outputs, gradients, *rest, **keywords)
