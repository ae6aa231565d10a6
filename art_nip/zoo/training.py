"""Trains a zoo model, with one recipe, schedule and augmentation for both frameworks.

Only the step, which computes and applies the gradient of the loss, differs between frameworks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from art_nip.utils.arrays import Array
from art_nip.utils.frameworks import Framework, code_of, model_framework
from art_nip.utils.validation import check_number, check_whole, is_number

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]
Step = Callable[[Images, Images, Labels, float], Array]
"""Takes images, the start of an attack on them, labels and the learning rate; returns the loss as a
tensor, which nobody needs to wait for."""

WARM_UP = 0.25
"""Share of the steps in which the learning rate grows (Smith & Topin, 2019: one cycle)."""


@dataclass(frozen=True)
class Recipe:
    """How to train.

    :param epochs: passes over the images.
    :param batch_size: images in a step.
    :param learning_rate: the highest learning rate of the cycle.
    :param weight_decay: weight decay of AdamW.
    :param shift: each image is moved by up to this many pixels each way, its edge repeated.
    :param flip: whether half of the images are mirrored; not for signs, which say left or right.
    :param bfloat16: whether PyTorch computes in floats of half the width where the hardware knows
        them. On two CPU cores ResNet-20 then trains 1.8 times as fast, LeNet-5 0.8 times.
    :param adversarial: ε in L∞, for images in [0, 1], of the attack that each batch is trained on
        instead (Madry et al., 2018); None trains on the images as they are.
    :param attack_steps: steps of that attack. One step from a random start does as well as many at
        a fraction of the cost (Wong et al., 2020), unless training goes on for long.
    :param auxiliary: weight of the auxiliary cross-entropy of `Suppress` layers, β of Bai et al.,
        2021; without such layers it does nothing.
    """

    epochs: int = 10
    batch_size: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 5e-4
    shift: int = 2
    flip: bool = False
    bfloat16: bool = True
    adversarial: float | None = None
    attack_steps: int = 1
    auxiliary: float = 2.0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2), ("shift", 0), ("attack_steps", 1)):
            check_whole(name, getattr(self, name), least)
        for name in ("learning_rate", "weight_decay", "auxiliary"):
            check_number(name, getattr(self, name), 0)
        eps = self.adversarial
        if eps is not None and not (is_number(eps) and 0 < eps <= 1):
            raise ValueError(
                f"adversarial={eps!r}; give an ε above 0 and at most 1, in units of images in "
                "[0, 1], such as 8/255, or None."
            )
        if self.adversarial is None and self.attack_steps > 1:
            raise ValueError(
                f"attack_steps={self.attack_steps} are of adversarial training: give its ε, "
                "adversarial=8/255, or leave them out."
            )


def seed_weights(framework: str, seed: int) -> None:
    """Make the next model of a framework start from the same weights each time.

    :param framework: "pytorch" or "tensorflow".
    :param seed: whole number from 0 to 2**32 - 1.
    """
    code_of("art_nip.zoo", framework).seed_weights(seed)


def train(
    model: Any,
    x: Images,
    y: Labels,
    recipe: Recipe,
    *,
    mean: float = 0.0,
    std: float = 1.0,
    seed: int = 0,
    verbose: bool = True,
) -> None:
    """Train a model in place.

    :param model: a model from `art_nip.zoo.create`; on a GPU it is trained there.
    :param x: images, float32, shape (N, *input_shape) of the model's framework.
    :param y: class indices, shape (N,).
    :param recipe: how to train.
    :param mean: it is subtracted from the images before the model sees them, as in ART's
        `preprocessing`.
    :param std: the images are divided by it afterwards.
    :param seed: seed of order, augmentation and attacks; weights are initialised where the model is
        made.
    :param verbose: whether to show progress, with the mean loss of the epoch.
    :raises ValueError: if there are fewer images than in a batch, or not as many labels, if images
        or labels are none, or if the recipe is adversarial and the images are not in [0, 1].
    :raises TypeError: if the model is of neither framework.
    """
    if len(x) != len(y) or len(x) < recipe.batch_size:
        raise ValueError(
            f"There are {len(x)} images and {len(y)} labels; give as many of each, and at least "
            f"one batch of {recipe.batch_size}."
        )
    if not np.issubdtype(y.dtype, np.integer) or y.min() < 0:
        raise ValueError(f"Labels must be class indices, int64, from 0 on; got {y.dtype}: {y[:5]}.")
    if not np.isfinite(x.sum()):
        raise ValueError("Images contain NaN or infinite values; clean them first.")
    check_number("mean", mean, -np.inf)
    if not (is_number(std) and std > 0):
        raise ValueError(f"std={std!r}; give a number above 0, by which images are divided.")
    if recipe.adversarial is not None and not (x.min() >= 0 and x.max() <= 1):
        raise ValueError(
            f"Adversarial training takes images in [0, 1]; these range from {x.min():g} to "
            f"{x.max():g}."
        )
    channels_first = model_framework(model) is Framework.PYTORCH
    step = training_step(model, recipe, mean, std)
    rng = np.random.default_rng(seed)
    per_epoch = len(x) // recipe.batch_size
    total, done = recipe.epochs * per_epoch, 0
    for epoch in range(recipe.epochs):
        losses = []
        batches = _batches(x, y, recipe, rng, channels_first)
        with tqdm(
            batches, f"epoch {epoch + 1}/{recipe.epochs}", per_epoch, disable=not verbose
        ) as bar:
            for images, labels in bar:
                rate = recipe.learning_rate * _cycle(done / total)
                losses.append(step(images, _start(images, recipe, rng), labels, rate))
                done += 1
            if verbose:
                bar.set_postfix(loss=f"{np.mean([float(loss) for loss in losses]):.3f}")


def training_step(model: Any, recipe: Recipe, mean: float = 0.0, std: float = 1.0) -> Step:
    """Return a function that trains a model by one step, and keeps the state of the optimiser.

    :param model: see :func:`train`.
    :param recipe: see :func:`train`.
    :param mean: see :func:`train`.
    :param std: see :func:`train`.
    :raises TypeError: if the model is of neither framework.
    """
    step: Step = code_of("art_nip.zoo", model_framework(model)).training_step(
        model, recipe, mean, std
    )
    return step


def _cycle(progress: float) -> float:
    """Return the share of the highest learning rate: it rises in a line and falls in a cosine."""
    if progress < WARM_UP:
        return (progress + 1e-2) / (WARM_UP + 1e-2)
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def _batches(
    x: Images, y: Labels, recipe: Recipe, rng: np.random.Generator, channels_first: bool
) -> Iterator[tuple[Images, Labels]]:
    """Yield augmented batches of one epoch; a last batch that is not full is left out."""
    order = rng.permutation(len(x))
    for start in range(0, len(x) - recipe.batch_size + 1, recipe.batch_size):
        chosen = order[start : start + recipe.batch_size]
        images = augmented(x[chosen], recipe.shift, recipe.flip, rng, channels_first)
        yield images, y[chosen]


def augmented(
    x: Images, shift: int, flip: bool, rng: np.random.Generator, channels_first: bool
) -> Images:
    """Return images moved by up to `shift` pixels each way, and half of them mirrored.

    :param x: shape (N, C, H, W), or (N, H, W, C).
    :param shift: largest shift in pixels.
    :param flip: whether to mirror.
    :param rng: draws one shift and one flip per image.
    :param channels_first: whether `x` has the first of the shapes.
    """
    height_axis = 2 if channels_first else 1
    height, width = x.shape[height_axis : height_axis + 2]
    n = len(x)
    rows = np.arange(height) + rng.integers(-shift, shift + 1, (n, 1))
    columns = np.arange(width) + rng.integers(-shift, shift + 1, (n, 1))
    if flip:
        columns = np.where(rng.random((n, 1)) < 0.5, columns, width - 1 - columns)
    rows, columns = rows.clip(0, height - 1)[:, :, None], columns.clip(0, width - 1)[:, None, :]
    image = np.arange(n)[:, None, None]
    # NumPy puts the channels last in both cases.
    moved: Images = x[image, :, rows, columns] if channels_first else x[image, rows, columns]
    return np.moveaxis(moved, -1, 1) if channels_first else moved


def _start(images: Images, recipe: Recipe, rng: np.random.Generator) -> Images:
    """Return images at which an attack starts, drawn from its ε-ball."""
    eps = recipe.adversarial
    if eps is None:
        return images
    return images + rng.uniform(-eps, eps, images.shape).astype(np.float32)
