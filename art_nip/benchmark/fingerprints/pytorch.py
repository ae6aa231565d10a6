"""Fingerprints of tensors, modules and traced functions of PyTorch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from art_nip.benchmark.fingerprints.installed import is_users

KEPT_BY_PYTORCH = set(vars(torch.nn.Module()))
"""Attributes that PyTorch itself gives every module: parameters, buffers, hooks."""

HOOKS = ("_forward_hooks", "_forward_pre_hooks")


def parts(value: Any) -> list[Any]:
    """Return what a tensor, a module or a traced function consists of, in simpler terms."""
    if isinstance(value, torch.Tensor):
        return [_numpy(value)]
    return list(_module(value)) if isinstance(value, torch.nn.Module) else _traced(value)


def _module(module: Any) -> Iterator[Any]:
    # `torch.compile` changes how fast a module is, not what it computes.
    module = getattr(module, "_orig_mod", module)
    for path, part in module.named_modules():
        yield [path, type(part), _attributes(part)]
        yield [list(getattr(part, hooks).values()) for hooks in HOOKS]
        # The forward of scripted and of traced modules is in no class.
        if isinstance(part, torch.jit.ScriptModule):
            yield _traced(part)
        elif isinstance(part, torch.fx.GraphModule):
            yield str(part.code)
    # The buffers are added because a state_dict leaves some of them out.
    yield {**module.state_dict(), **dict(module.named_buffers())}


def _traced(value: Any) -> list[Any]:
    """Return the graph of a traced or scripted function or module, without places in files."""
    if not hasattr(value, "inlined_graph"):  # a container without a forward
        return []
    graph = value.inlined_graph
    constants = [
        node.t("value")
        for node in graph.findAllNodes("prim::Constant", recurse=True)
        if node.hasAttribute("value") and node.kindOf("value") == "t"
    ]
    # Drop places in files, and numbers that PyTorch counts up within a process.
    return [re.sub(r" # .*|\.___torch_mangle_\d+", "", str(graph)), constants]


def _attributes(part: Any) -> dict[str, Any]:
    users = is_users(type(part).__module__)
    return {
        name: value
        for name, value in vars(part).items()
        if name not in KEPT_BY_PYTORCH and (users or not name.startswith("_"))
    }


def _numpy(tensor: Any) -> list[Any]:
    host = tensor.detach().cpu()
    try:
        array = host.numpy()
    except TypeError:  # NumPy has no bfloat16
        array = host.float().numpy()
    return [str(tensor.dtype), np.asarray(array)]
