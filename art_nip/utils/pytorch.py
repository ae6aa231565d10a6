"""PyTorch's part of the tools: devices, and its state of randomness."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain
from operator import attrgetter
from typing import Any

import numpy.typing as npt
import torch

SETTINGS = (
    *("deterministic", "default dtype", "cudnn.deterministic", "cudnn.benchmark"),
    *("float32 products", "cudnn.allow_tf32"),
    # What PyTorch has from 2.9 on for the two before, which set some of these.
    *("fp32_precision", "cudnn.fp32_precision", "cuda.matmul.fp32_precision"),
    *("cudnn.conv.fp32_precision", "cudnn.rnn.fp32_precision"),
    *("mkldnn.matmul.fp32_precision", "mkldnn.conv.fp32_precision", "mkldnn.rnn.fp32_precision"),
)
"""On which the digits of results depend; those with no function below stand in `torch.backends`."""

FUNCTIONS: dict[str, tuple[Any, Any]] = {
    "deterministic": (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode),
    "default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "float32 products": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
}
"""How to read and to set some of them."""


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Set PyTorch's states of randomness, and give back those of the CPU and of CUDA's GPUs.

    No GPU is woken for it: one that nothing has used yet has no state that could be given back. Its
    seed is that of the CPU again at the end, as it was.

    :param seed: whole number from 0 to 2**32 - 1.
    """
    awake: bool = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    before = torch.initial_seed()
    devices = range(torch.cuda.device_count()) if awake else ()
    with torch.random.fork_rng(devices, device_type="cuda"):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            if not awake:
                torch.cuda.manual_seed_all(before)


def modules_of(module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """Yield what `modules()` does, in its order and in a fraction of its time."""
    seen = set()
    waiting: list[torch.nn.Module | None] = [module]
    while waiting:
        part = waiting.pop()
        if part is not None and part not in seen:
            seen.add(part)
            yield part
            waiting += reversed(part._modules.values())


def parameters_of(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Yield a module's parameters, shared ones again; in a fraction of `parameters()`' time."""
    for part in modules_of(module):
        for weight in part._parameters.values():
            if weight is not None:
                yield weight


def weights_of(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    """Yield a module's parameters and buffers, part by part, shared ones again."""
    for part in modules_of(module):
        for weight in chain(part._parameters.values(), part._buffers.values()):
            if weight is not None:
                yield weight


def device_of(module: torch.nn.Module) -> torch.device | None:
    """Return the device of a module's parameters or, if it has none, of its buffers.

    :param module: a module; None is returned if it has neither.
    """
    weights = chain(parameters_of(module), weights_of(module))
    return next((weight.device for weight in weights), None)


def check_runs_as_written(model: Any) -> None:
    """Raise a ValueError if ART's classifiers would not call the `forward` or hooks of a model.

    Of a Sequential they call the layers one after the other themselves.

    :param model: the model of a `PyTorchClassifier`.
    """
    sequential = torch.nn.Sequential
    if not isinstance(model, sequential):
        return
    if type(model).forward is not sequential.forward:
        raise ValueError(
            f"The model, a {type(model).__name__}, is an nn.Sequential with a forward of its own, "
            "and ART calls the layers one after the other instead of it: its predictions are "
            "others. Make the class an nn.Module that holds the Sequential."
        )
    if model._forward_hooks or model._forward_pre_hooks:
        raise ValueError(
            "The model is an nn.Sequential with forward hooks, and ART calls the layers one after "
            "the other, and never the hooks. Remove them, register them on a layer, or put the "
            "Sequential into an nn.Module."
        )


def has_float64(device: torch.device) -> bool:
    """Return whether a device computes in float64; Apple's GPUs do not.

    :param device: any device of PyTorch.
    """
    try:
        torch.zeros(1, dtype=torch.float64, device=device)
    except (TypeError, RuntimeError):
        return False
    return True


def hardware() -> list[str]:
    """Return the GPUs that PyTorch sees, and the settings that results depend on; none without."""
    if not torch.cuda.is_available():
        return []
    names = [torch.cuda.get_device_name(place) for place in range(torch.cuda.device_count())]
    cudnn: Any = torch.backends.cudnn
    convolutions, products = map(_has_tf32, (cudnn, torch.backends.cuda.matmul))
    return [
        *names,
        f"CUDA {torch.version.cuda}",
        f"cuDNN {cudnn.version()}",
        f"TF32 {_on(convolutions)} in convolutions of PyTorch, {_on(products)} in products",
    ]


def _has_tf32(backend: Any) -> bool:
    try:
        return bool(backend.allow_tf32)
    except RuntimeError:  # The user has set it by the names that PyTorch has for it from 2.9 on.
        part: Any = getattr(backend, "conv", backend)
        return bool(part.fp32_precision == "tf32")


def _on(setting: bool) -> str:
    return "on" if setting else "off"


def numerics() -> dict[str, Any]:
    """Return the settings of this process on which the digits of results depend, by name."""
    found = {}
    for name in SETTINGS:
        # A version may not have one, or not tell an older one, as in `_has_tf32`.
        with suppress(AttributeError, RuntimeError):
            found[name] = FUNCTIONS[name][0]() if name in FUNCTIONS else _of_backends(name)
    return found


def set_numerics(settings: Mapping[str, Any]) -> None:
    """Take over the settings of another process.

    :param settings: what `numerics` returned there.
    """
    for name, value in settings.items():
        # One may set others; and PyTorch warns of some where they are set.
        if numerics().get(name) == value:
            continue
        if name in FUNCTIONS:
            FUNCTIONS[name][1](value)
        else:
            folder, _, last = f"backends.{name}".rpartition(".")
            setattr(attrgetter(folder)(torch), last, value)


def _of_backends(name: str) -> Any:
    return attrgetter(name)(torch.backends)


def to_numpy(tensor: torch.Tensor) -> npt.NDArray[Any]:
    """Return a tensor of any device as a NumPy array, without its graph.

    :param tensor: of any dtype; NumPy has no bfloat16, which becomes float32.
    """
    tensor = tensor.detach().cpu()
    array: npt.NDArray[Any] = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return array
