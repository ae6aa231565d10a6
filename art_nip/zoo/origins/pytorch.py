"""Models of PyTorch by where they come from: their outputs, some of their logits, their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from art_nip.utils.pytorch import to_numpy
from art_nip.zoo.origins.base import NoLogitsError

PREFIXES = ("module.", "_orig_mod.")
"""What `DataParallel` and `torch.compile` put before the names of weights."""


class SelectedLogits(nn.Module):
    """A network of which some logits are kept.

    :param network: a module of logits.
    :param classes: whose logits, in the order that they get.
    """

    classes: Tensor

    def __init__(self, network: nn.Module, classes: Sequence[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("classes", torch.tensor(classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, shape (N, number of classes kept)."""
        logits: Tensor = self.network(x)
        return logits.index_select(1, self.classes)


class LogitsOfOutput(nn.Module):
    """A model of Hugging Face, which gives logits among other things, as a module of logits.

    :param network: a model for the classification of images.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits, shape (N, nb_classes)."""
        logits: Tensor = self.network(pixel_values=x).logits
        return logits


def outputs(model: nn.Module, x: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """Return what a model gives for images, in evaluation mode.

    It is left in that mode, with its weights in float32, whatever they were stored in: ART gives
    images in no other precision.

    :raises NoLogitsError: if it is not one tensor.
    """
    model.eval().float()
    device = next((weight.device for weight in model.parameters()), None)
    with torch.no_grad():
        result = model(torch.from_numpy(x).to(device))
    if not isinstance(result, Tensor):
        raise NoLogitsError(f"a {type(result).__name__}")
    return to_numpy(result.float())


def selected(model: nn.Module, input_shape: tuple[int, ...], classes: Sequence[int]) -> nn.Module:
    """Return a model that gives some of the logits only."""
    return SelectedLogits(model, classes).eval()


def load_weights(model: nn.Module, path: Path, entry: str | None = None) -> None:
    """Set the weights of a model from a file: of safetensors, or of `torch.save`.

    :param model: it is left in evaluation mode.
    :param path: the file.
    :param entry: which entry of the file holds the weights; None: the one that does.
    :raises ValueError: if the file is damaged, holds no weights, or those of another model.
    """
    weights = _weights(path, entry)
    for prefix in PREFIXES:
        if weights and all(name.startswith(prefix) for name in weights):
            weights = {name.removeprefix(prefix): value for name, value in weights.items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{path} holds the weights of another model. {error}") from error
    model.eval()


def _weights(path: Path, entry: str | None) -> Mapping[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            weights: dict[str, Tensor] = load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is truncated or not a safetensors file ({error}).") from error
        return weights
    try:
        # No code of the file is run.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # of a file of text, for example, a KeyError
        raise ValueError(
            f"{path} is damaged, or holds more than weights, which could be code and is not read. "
            "Write it anew with torch.save(model.state_dict(), path)."
        ) from error
    return _chosen(content, path, entry)


def _chosen(content: Any, path: Path, entry: str | None) -> Mapping[str, Tensor]:
    """Return the weights among what a file holds."""
    if entry is None and _are_weights(content):
        found: Mapping[str, Tensor] = content
        return found
    entries = dict(content) if isinstance(content, Mapping) else {}
    names = [str(name) for name, value in entries.items() if _are_weights(value)]
    if entry is not None and entry not in names:
        raise ValueError(
            f"{path} has no weights under {entry!r}; it has them under {', '.join(names) or '–'}."
        )
    if entry is None and len(names) != 1:
        raise ValueError(
            f"{path} holds no single set of weights by name; under these entries it holds some: "
            f"{', '.join(names) or '–'}. Say which with entry, or write the file anew with "
            "torch.save(model.state_dict(), path)."
        )
    chosen: Mapping[str, Tensor] = entries[entry or names[0]]
    return chosen


def _are_weights(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and bool(content)
        and all(isinstance(value, Tensor) for value in content.values())
    )
