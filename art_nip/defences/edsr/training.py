"""Trains EDSR on pairs of a benign image and the same image at half its size.

The optimiser and all random draws are NumPy's, so that both frameworks train alike.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from art_nip.defences import edsr
from art_nip.defences.bicubic import resized
from art_nip.metrics import psnr
from art_nip.utils.arrays import Array, to_numpy

Images = npt.NDArray[np.float32]

BATCH = 16
PATCH = 48
"""Side in pixels of the random squares that are taken from larger images."""

LEARNING_RATE = 1.5e-3
"""Learning rate of the first step; it falls to 0 along a cosine."""

HELD_OUT_SHARE, HELD_OUT_MOST = 0.1, 256
"""The share of the images that is kept apart, and the largest number of them."""

HIGHEST_PSNR = 60
"""Upper limit of an image's PSNR, in dB; of an image of almost one colour it may be infinite."""


class Reached(NamedTuple):
    """How well a network restores images from half their size, on images it was not trained on.

    :param psnr: mean of the peak signal-to-noise ratios, in dB.
    :param bicubic: the same mean for bicubic interpolation of these images.
    :param n: number of images.
    """

    psnr: float
    bicubic: float
    n: int

    def __str__(self) -> str:
        return (
            f"PSNR {self.psnr:.2f} dB on {self.n} images kept apart, bicubic {self.bicubic:.2f} dB"
        )


class Trained(NamedTuple):
    """A trained network.

    :param weights: the weights, see :mod:`art_nip.defences.edsr`.
    :param reached: how well it restores images.
    """

    weights: edsr.Weights
    reached: Reached


def train(
    x: Images,
    *,
    features: int,
    blocks: int,
    steps: int,
    rng: np.random.Generator,
    like: Array,
    verbose: bool,
) -> Trained:
    """Return a network trained on images of which a tenth was kept apart to measure it.

    As in the paper: Adam on the mean absolute error, with images flipped and turned.

    :param x: benign images in [0, 1], shape (N, C, H, W), at least two, of sides of at least 4.
    :param features: channels between the convolutions.
    :param blocks: number of residual blocks.
    :param steps: number of batches.
    :param rng: draws weights, batches and turns.
    :param like: a tensor of the framework to train in, on the device to train on.
    :param verbose: whether to show progress and the PSNR reached.
    """
    x = x[rng.permutation(len(x))]
    apart = min(max(1, round(HELD_OUT_SHARE * len(x))), HELD_OUT_MOST)
    weights = _initial(x.shape[1], features, blocks, rng)
    moments = {name: (np.zeros_like(w), np.zeros_like(w)) for name, w in weights.items()}
    with tqdm(range(steps), "EDSR", disable=not verbose) as bar:
        for step in bar:
            large = _patches(x[apart:], rng)
            small = edsr.tensor(_halved(large), like)
            tensors = {name: edsr.tensor(array, like) for name, array in weights.items()}
            error, found = edsr.gradients(tensors, small, edsr.tensor(large, like))
            rate = LEARNING_RATE * (1 + math.cos(math.pi * step / steps)) / 2
            for name, gradient in found.items():
                _adam(weights[name], gradient, *moments[name], step + 1, rate)
            bar.set_postfix(error=f"{error:.4f}", refresh=False)
    reached = measured(weights, x[:apart], like)
    if verbose:
        tqdm.write(f"EDSR: {reached}.")
    return Trained(weights, reached)


def measured(weights: edsr.Weights, x: Images, like: Array) -> Reached:
    """Return how well a network restores images.

    :param weights: the network.
    :param x: images in [0, 1], shape (N, C, H, W), of sides of at least 4.
    :param like: a tensor of the framework to compute in, on the device to compute on.
    """
    height, width = (side // 2 * 2 for side in x.shape[2:])
    tensors = {name: edsr.tensor(array, like) for name, array in weights.items()}
    network, bicubic = [], []
    for start in range(0, len(x), BATCH):
        large = x[start : start + BATCH, :, :height, :width]
        small = _halved(large)
        restored = to_numpy(edsr.doubled(edsr.tensor(small, like), tensors))
        network.append(psnr(large, restored.clip(0, 1)))
        bicubic.append(psnr(large, resized(small, height, width).clip(0, 1)))
    return Reached(_mean(network), _mean(bicubic), len(x))


def _mean(ratios: list[npt.NDArray[np.float64]]) -> float:
    return float(np.concatenate(ratios).clip(max=HIGHEST_PSNR).mean())


def _initial(
    channels: int, features: int, blocks: int, rng: np.random.Generator
) -> dict[str, npt.NDArray[np.float32]]:
    """Draw weights as PyTorch does; the last layer gets zeros, so that the network adds nothing."""
    weights = {}
    for name, shape in edsr.shapes(channels, features, blocks).items():
        given = channels if name.startswith("head") else features
        bound = 0 if name.startswith("tail") else 1 / math.sqrt(9 * given)
        weights[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    return weights


def _patches(x: Images, rng: np.random.Generator) -> Images:
    """Draw a batch of patches with even sides; all are flipped and turned in the same way."""
    height, width = (min(side // 2 * 2, PATCH) for side in x.shape[2:])
    top = rng.integers(x.shape[2] - height + 1)
    left = rng.integers(x.shape[3] - width + 1)
    chosen = rng.integers(len(x), size=BATCH)
    patches = x[chosen, :, top : top + height, left : left + width]
    for axis in (2, 3):
        if rng.random() < 0.5:
            patches = np.flip(patches, axis)
    if rng.random() < 0.5:
        patches = patches.swapaxes(2, 3)
    return np.ascontiguousarray(patches)


def _halved(x: Images) -> Images:
    return resized(x, x.shape[2] // 2, x.shape[3] // 2)


def _adam(
    weights: Images, gradient: Images, first: Images, second: Images, step: int, rate: float
) -> None:
    """Change weights and moments in place (Kingma & Ba 2015)."""
    first += 0.1 * (gradient - first)
    second += 0.001 * (gradient * gradient - second)
    scale = np.sqrt(second / (1 - 0.999**step)) + 1e-8
    weights -= rate / (1 - 0.9**step) * first / scale
