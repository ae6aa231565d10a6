"""A training step in PyTorch."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from art_nip.zoo.adversarial import worst
from art_nip.zoo.suppression import auxiliary_logits
from art_nip.zoo.training import Images, Labels, Recipe, Step

FIRST_WITH_BFLOAT16 = (8, 0)
"""The first GPUs that compute in bfloat16: Ampere. Before, it is emulated, and slow."""

FUSED = ("cpu", "cuda")
"""Devices on which AdamW takes its step in one pass over the weights, "cpu" from PyTorch 2.4 on."""


def seed_weights(seed: int) -> None:
    """Make the next model start from the same weights each time.

    :param seed: whole number from 0 to 2**32 - 1.
    """
    torch.manual_seed(seed)


def training_step(model: torch.nn.Module, recipe: Recipe, mean: float, std: float) -> Step:
    """Return a function that trains a model by one step, and keeps the state of the optimiser.

    :param model: the model to train, on its device.
    :param recipe: how to train.
    :param mean: it is subtracted from the images before the model sees them.
    :param std: the images are divided by it afterwards.
    """
    device = next(model.parameters()).device
    optimizer = _adamw(model, recipe.weight_decay, device)
    known = _gpu_knows_bfloat16(device) if device.type == "cuda" else _cpu_knows_bfloat16()
    autocast = recipe.bfloat16 and known

    def tensor(images: Images) -> torch.Tensor:
        # Channels last in memory, in which convolutions compute faster; the layout passes on.
        return torch.from_numpy(images).to(device, memory_format=torch.channels_last)

    def loss_of(x: Any, labels: Any, told: Any) -> Any:
        with (
            auxiliary_logits(model.modules(), told) as auxiliary,
            torch.autocast(device.type, torch.bfloat16, enabled=autocast),
        ):
            logits = model((x - mean) / std)
        cross_entropies = [
            torch.nn.functional.cross_entropy(scores.float(), labels)
            for scores in (logits, *auxiliary)
        ]
        return cross_entropies[0] + recipe.auxiliary * sum(cross_entropies[1:])

    def gradient(x: Any, labels: Any) -> Any:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(loss_of(x, labels, told=None), x)[0]

    def step(images: Images, start: Images, labels: Labels, rate: float) -> torch.Tensor:
        for group in optimizer.param_groups:
            group["lr"] = rate
        x = tensor(images)
        y = torch.from_numpy(labels).to(device)
        if recipe.adversarial is not None:
            following = partial(gradient, labels=y)
            x = worst(x, tensor(start), following, recipe.adversarial, recipe.attack_steps)
        model.train()
        loss = loss_of(x, y, told=y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.eval()
        return loss.detach()  # type: ignore[no-any-return]

    model.eval()
    return step


def _adamw(model: torch.nn.Module, weight_decay: float, device: torch.device) -> torch.optim.AdamW:
    make = partial(torch.optim.AdamW, weight_decay=weight_decay)
    try:
        return make(model.parameters(), fused=device.type in FUSED)
    except RuntimeError:  # before PyTorch 2.4
        return make(model.parameters())


def _gpu_knows_bfloat16(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= FIRST_WITH_BFLOAT16


def _cpu_knows_bfloat16() -> bool:
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
