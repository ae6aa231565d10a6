"""Defences on PyTorch tensors. PyTorch is imported when the first of them is used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch

from art_nip.defences.base import ImageDefence
from art_nip.utils.arrays import Array


class PyTorchDefence(ImageDefence, PreprocessorPyTorch):  # type: ignore[misc]
    """A defence on PyTorch tensors."""

    @contextmanager
    def _undisturbed(self, x: Array | None = None) -> Iterator[None]:
        import torch

        device = self.device if x is None else x.device
        # In inference mode models have no gradients, and autocast computes in half precision.
        with torch.inference_mode(False), torch.autocast(device.type, enabled=False):
            yield

    def _tensor(self, values: npt.NDArray[Any], like: Array | None = None) -> Array:
        import torch

        return torch.tensor(values, device=self.device if like is None else like.device)

    def _in_float64(self, x: Array, function: Callable[[Array], Array]) -> Array:
        from art_nip.utils.pytorch import has_float64

        given = x if has_float64(x.device) else x.cpu()
        return function(given.double()).float().to(x.device)

    def _constant(self, x: Array) -> Array:
        return x.detach().clone()

    def _numpy(self, x: Array) -> npt.NDArray[Any]:
        return np.asarray(x.cpu())

    def _is_floating(self, x: Array) -> bool:
        return bool(x.is_floating_point())
