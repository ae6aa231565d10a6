"""Defences that are known to be broken, small, for the adaptive suite to see through.

Each hides its gradient in another way: Athalye et al., "Obfuscated gradients give a false sense of
security" (2018); Tramèr et al., "On adaptive attacks to adversarial example defenses" (2020); Croce
et al., "Evaluating the adversarial robustness of adaptive test-time defenses" (2022). Those that
change the model are written for PyTorch only.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch, PreprocessorTensorFlowV2
from torch import nn
from torch.nn import functional

from art_nip import zoo
from art_nip.benchmark.analysis.worst_case import Outcome
from art_nip.benchmark.schema.words import Role
from tests.helpers import device, make_classifier, on_device

LEVELS = 15
"""Levels of grey but black."""

SMALLEST = 24
"""Least side of a resized image."""

KEPT = 0.5
"""How many values are drawn, as a share of their number."""

TEMPERATURE = 50.0
"""Of distillation."""

WINNERS = 0.15
"""Share of the values that go on."""

SURE = 0.5
"""Probability at which the early exit is taken."""

SATURATION = 100.0
"""Factor on the logits before softmax."""

STEPS, STEP = 2, 0.1
"""Steps of the anti-adversary, and their size."""


class Quantised(PreprocessorPyTorch):
    """Rounds pixels to a few levels: the gradient is zero (Buckman et al., 2018)."""

    def forward(self, x, y=None):
        return torch.round(x * LEVELS) / LEVELS, y


class QuantisedTensorFlow(PreprocessorTensorFlowV2):
    """The same; TensorFlow says that there is no gradient."""

    def forward(self, x, y=None):
        import tensorflow as tf

        return tf.round(x * LEVELS) / LEVELS, y


class Resized(PreprocessorPyTorch):
    """Shrinks an image by chance, and pads it back by chance (Xie et al., 2018)."""

    def forward(self, x, y=None):
        side = x.shape[-1]
        size = int(torch.randint(SMALLEST, side + 1, ()))
        left, top = (int(torch.randint(side - size + 1, ())) for _ in range(2))
        small = functional.interpolate(x, (size, size), mode="bilinear", align_corners=False)
        return functional.pad(small, (left, side - size - left, top, side - size - top)), y


class ResizedTensorFlow(PreprocessorTensorFlowV2):
    """The same."""

    def forward(self, x, y=None):
        import tensorflow as tf

        side = x.shape[1]
        size = int(tf.random.uniform((), SMALLEST, side + 1, tf.int32))
        left, top = (int(tf.random.uniform((), 0, side - size + 1, tf.int32)) for _ in range(2))
        small = tf.image.resize(x, (size, size))
        return tf.image.pad_to_bounding_box(small, top, left, side, side), y


class AntiAdversary(PreprocessorPyTorch):
    """Makes the model surer of what it says, and keeps to itself how (Alfarra et al., 2022)."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, x, y=None):
        with torch.enable_grad():
            moved = x.detach()
            said = self.model(moved).argmax(1)
            for _ in range(STEPS):
                moved = moved.detach().requires_grad_()
                loss = functional.cross_entropy(self.model(moved), said, reduction="sum")
                moved = moved - STEP * torch.autograd.grad(loss, moved)[0].sign()
        return (x + (moved - x).detach()).clamp(0, 1), y


class Pruned(nn.Module):
    """ReLU of which some values are drawn, the larger the likelier (SAP, Dhillon et al., 2018)."""

    def forward(self, x):
        kept = functional.relu(x)
        flat = kept.flatten(1)
        p = flat / flat.sum(1, keepdim=True).clamp_min(1e-12)
        # The probability that as many draws as KEPT of the values hit a value at least once.
        hit = 1 - (1 - p) ** int(KEPT * flat.shape[1])
        drawn = torch.rand_like(hit) < hit
        return (flat * drawn / hit.clamp_min(1e-12)).view_as(kept)


class Winners(nn.Module):
    """Only the largest values go on (k-winners-take-all, Xiao et al., 2020)."""

    def forward(self, x):
        flat = x.flatten(1)
        least = flat.topk(max(1, int(WINNERS * flat.shape[1])), dim=1).values[:, -1:]
        return (flat * (flat >= least)).view_as(x)


class EarlyExit(nn.Module):
    """Leaves by an early exit where that is sure, with an answer that has no gradient."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.first, self.rest = model.features[:3], model
        self.exit: Any = None

    def forward(self, x):
        with torch.no_grad():
            early = self.exit(self.first(x))
        sure = early.softmax(1).amax(1, keepdim=True) > SURE
        answer = 100 * functional.one_hot(early.argmax(1), early.shape[1])
        return torch.where(sure, answer.to(x.dtype), self.rest(x))


IN_BOTH = ("quantised input", "random resizing", "saturated softmax")
"""Those that there are in both frameworks."""

NAMES = (
    *IN_BOTH,
    *("stochastic activation pruning", "defensive distillation", "k-winners-take-all"),
    *("early exit", "anti-adversary"),
)


def alone(outcome: Outcome, roles: tuple[Role, ...] = (Role.FGSM, Role.PGD)) -> Outcome:
    """Return what a suite of some of the attacks would have said, each image asked about once."""
    wrong, broken_by = (
        {role: masks[role] for role in roles} for masks in (outcome.wrong, outcome.broken)
    )
    return replace(outcome, wrong=wrong, broken=broken_by, repeated=None)


def broken(name: str, framework: str, model: Any, x: np.ndarray, y: np.ndarray) -> Any:
    """Return a defence, an ART preprocessor or classifier.

    :param name: one of `NAMES`.
    :param framework: "pytorch" or "tensorflow".
    :param model: a trained LeNet-5 of that framework; it stays as it is.
    :param x: the digits that it was trained on, channels first.
    :param y: their classes.
    """
    of_pytorch = framework == "pytorch"
    match name:
        case "quantised input":
            return Quantised() if of_pytorch else QuantisedTensorFlow()
        case "random resizing":
            return Resized() if of_pytorch else ResizedTensorFlow()
        case "anti-adversary":
            return AntiAdversary(model)
        case "saturated softmax":
            made = nn.Sequential(model, Scale(), nn.Softmax(1)) if of_pytorch else _saturated(model)
        case "stochastic activation pruning":
            made = _copy(model, Pruned)
            made.load_state_dict(model.state_dict())
        case "k-winners-take-all":
            torch.manual_seed(0)
            made = _copy(model, Winners)
            _fit(made, x, functional.one_hot(on_device(y), 10).float())
        case "defensive distillation":
            torch.manual_seed(0)
            made = _copy(model, nn.ReLU)
            with torch.no_grad():
                labels = model(on_device(x)).softmax(1)
            _fit(made, x, labels, TEMPERATURE)
        case "early exit":
            torch.manual_seed(0)
            made = EarlyExit(model)
            made.exit = nn.Sequential(nn.Flatten(), nn.Linear(864, 10)).to(device())
            with torch.no_grad():
                seen = made.first(on_device(x)).numpy(force=True)
            _fit(made.exit, seen, functional.one_hot(on_device(y), 10).float())
    return make_classifier(framework, made.eval() if of_pytorch else made)


class Scale(nn.Module):
    """Makes scores so large that softmax rounds to 0 and 1."""

    def forward(self, x):
        return SATURATION * x


def _saturated(model: Any) -> Any:
    import keras

    scores = keras.layers.Rescaling(SATURATION)(model.output)
    return keras.Model(model.inputs[0], keras.layers.Softmax()(scores))


def _copy(model: Any, activation: type[nn.Module]) -> Any:
    """Return an untrained LeNet-5 with other activations."""
    made = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10)
    for part in (made.features, made.classifier):
        for place, layer in enumerate(part):
            if isinstance(layer, nn.ReLU):
                part[place] = activation()
    return made.to(device())


def _fit(model: Any, x: np.ndarray, labels: torch.Tensor, temperature: float = 1.0) -> None:
    images = on_device(x)
    optimiser = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(5):
        for rows in torch.randperm(len(x)).split(64):
            loss = functional.cross_entropy(model(images[rows]) / temperature, labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
