"""Super-resolution: wavelet denoising, then a network that puts images back among natural ones.

Mustafa et al., "Image Super-Resolution as a Defense Against Adversarial Attacks", IEEE Transactions
on Image Processing 2019, https://arxiv.org/abs/1901.01677.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import NotFittedError

from art_nip.defences import edsr, edsr_training
from art_nip.defences.base import ImageDefence, PyTorchDefence, TensorFlowDefence
from art_nip.defences.colour import TO_YCBCR, check_grey_or_rgb, mixed
from art_nip.defences.edsr_training import Reached, Trained
from art_nip.defences.wavelets import bayes_shrink
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.files import reading, write_arrays
from art_nip.utils.seeds import generator
from art_nip.utils.validation import check_images, check_number, check_whole, numeric

FORMAT = "art-nip EDSR"

LEAST_SIDE = 4
"""Of an image, which is halved in training."""


class SuperResolution(ImageDefence):
    """Denoise by wavelets, double the size by EDSR, and bring it back (Mustafa et al. 2019).

    The details of YCbCr that noise of standard deviation `sigma` could have made are removed by
    BayesShrink, as the authors do with scikit-image. EDSR enlarges the image ×2. The authors'
    classifier is given the larger image; others take one size, to which it is brought back by
    nearest neighbour, the default of Keras, through which the authors read images. (Bicubic
    resizing undoes the super-resolution, and with it half of the defence.) The gradient of this
    defence is given as the identity.

    No weights of EDSR come with this package: `fit` trains a small one on benign images, in PyTorch
    if that is installed, else in TensorFlow; this class runs it there too.

    :param clip_values: range (min, max) of the images, two numbers.
    :param sigma: of the noise, as a share of the range; 0 skips the denoising. 0.04 is that of the
        authors' code.
    :param weights: a file that `save` wrote, which is then used, and `fit` does nothing; None: what
        `fit` learns.
    :param features: channels between the convolutions of the network that `fit` trains.
    :param blocks: its residual blocks. EDSR's baseline has 64 and 16; 32 and 6 are trained in
        minutes.
    :param steps: how long `fit` trains, in batches of 16 images.
    :param seed: of `fit`; None draws one from NumPy's global state.
    :param channels_first: whether images are (C, H, W) or (H, W, C); C is 1 or 3 (RGB).
    :param apply_fit: whether the defence is applied when the defended classifier is trained.
    :param apply_predict: whether the defence is applied when it predicts.
    :param batch_size: how many images are treated at once.
    :param verbose: whether `fit` shows progress.
    :param framework: `device_type` of the PyTorch class; see :class:`ImageDefence`.
    :raises ValueError: if a parameter is not allowed, or `weights` is no such file.
    """

    params = [  # noqa: RUF012 - as ART has it
        "clip_values",
        "sigma",
        "weights",
        "features",
        "blocks",
        "steps",
        "seed",
        "channels_first",
        "batch_size",
        "verbose",
    ]

    def __init__(
        self,
        clip_values: tuple[float, float],
        sigma: float = 0.04,
        weights: str | Path | None = None,
        features: int = 32,
        blocks: int = 6,
        steps: int = 1500,
        seed: int | None = None,
        channels_first: bool = False,
        apply_fit: bool = False,
        apply_predict: bool = True,
        batch_size: int = 16,
        verbose: bool = True,
        **framework: Any,
    ) -> None:
        super().__init__(
            channels_first=channels_first,
            clip_values=clip_values,
            apply_fit=apply_fit,
            apply_predict=apply_predict,
            batch_size=batch_size,
            **framework,
        )
        self.sigma = sigma
        self.weights = weights
        self.features = features
        self.blocks = blocks
        self.steps = steps
        self.seed = seed
        self.verbose = verbose
        self._learned: Trained | None = None
        self._file: tuple[str | Path, Trained] | None = None
        self._check_params()

    def _check_params(self) -> None:
        super()._check_params()
        if self.clip_values is None:
            raise ValueError(
                "clip_values=None; the noise is a share of the range of the images: give "
                "(min, max)."
            )
        check_number("sigma", self.sigma, low=0)
        for name in ("features", "blocks", "steps"):
            check_whole(name, getattr(self, name), least=1)
        if self.seed is not None:
            check_whole("seed", self.seed, least=0)
        if self.weights is not None and (self._file is None or self._file[0] != self.weights):
            self._file = self.weights, _read(self.weights)

    def _check_size(self, channels: int, height: int, width: int) -> None:
        check_grey_or_rgb(channels, self.channels_first)
        if min(height, width) < LEAST_SIDE:
            raise ValueError(
                f"Images are {height}×{width} pixels; the least is {LEAST_SIDE}×{LEAST_SIDE}. "
                "Resize them."
            )

    def _check_images(self, x: Array) -> None:
        super()._check_images(x)
        channels = x.shape[1 if self.channels_first else 3]
        trained_on = self._network().weights["head.weight"].shape[1]
        if channels != trained_on:
            raise ValueError(
                f"Images have {channels} channels, and the network was trained on images of "
                f"{trained_on}: fit it on images like these."
            )

    # Learning

    def fit(self, x: npt.ArrayLike, y: Any | None = None, **kwargs: Any) -> None:
        """Train the network to restore benign images from half their size; see `reached`.

        If there are `weights`, they stay, and nothing is done.

        :param x: benign images, shape (N, C, H, W) or (N, H, W, C), in the range of `clip_values`;
            at least two, of which a tenth is kept apart, 256 at most.
        :param y: anything; not used.
        :raises TypeError: if images are no numbers.
        :raises ValueError: if images are not as above.
        :raises ImportError: if neither PyTorch nor TensorFlow is installed.
        """
        if kwargs:
            raise TypeError(f"fit takes x and y only; it was given {', '.join(kwargs)} too.")
        if self.weights is not None:
            return
        images = numeric(x)
        super()._check_images(images)
        check_images(images, images.shape[1:], self.clip_values)
        if len(images) < 2:
            raise ValueError(
                f"fit was given {len(images)} images; give at least two, one to train on and one "
                "to keep apart. A good network takes some hundreds."
            )
        low, high = self._range
        first = images if self.channels_first else np.moveaxis(images, 3, 1)
        like = edsr.in_framework(self._tensor(first[:1]))
        self._learned = edsr_training.train(
            (first - np.float32(low)) / np.float32(high - low),
            features=self.features,
            blocks=self.blocks,
            steps=self.steps,
            rng=generator(self.seed),
            like=like,
            verbose=self.verbose,
        )

    @property
    def is_fitted(self) -> bool:
        """Whether there is a network to use."""
        return self._learned is not None or self.weights is not None

    @property
    def reached(self) -> Reached:
        """PSNR of the network on the images that `fit` kept apart, and that of bicubic resizing."""
        return self._network().reached

    def save(self, path: str | Path) -> None:
        """Save the network to one safetensors file, whole or not at all.

        :param path: the file; an existing one is replaced. Give it as `weights`.
        :raises NotFittedError: if nothing was fitted.
        """
        weights, reached = self._network()
        header = {"format": FORMAT, "reached": json.dumps(reached)}
        write_arrays(Path(path), weights, header)

    def load(self, path: str | Path) -> None:
        """Use a saved network, in either framework, as if it had been fitted here.

        :param path: a file that `save` wrote.
        :raises ValueError: if there is no such file, or it is of another kind.
        """
        self._learned = _read(path)

    def _network(self) -> Trained:
        if self.weights is not None and self._file is not None:
            return self._file[1]
        if self._learned is None:
            raise NotFittedError(
                f"This {type(self).__name__} has no network yet: call fit(x_benign), or load a "
                "saved one."
            )
        return self._learned

    # Defending

    @property
    def _range(self) -> tuple[float, float]:
        low, high = self.clip_values  # type: ignore[misc] # _check_params
        return float(low), float(high)

    def _defend(self, x: Array) -> Array:
        if isinstance(x, np.ndarray):  # NumPy has no convolutions.
            return edsr.array(self._defend(edsr.in_framework(x)))
        xp = namespace(x)
        weights = self._network().weights
        low, high = self._range
        # float64, lest what counts as noise depend on the framework.
        x = (xp.astype(x, xp.float64) - low) / (high - low)
        x = xp.clip(xp.astype(self._denoised(x), xp.float32), 0.0, 1.0)
        large = edsr.doubled(x, {name: edsr.tensor(each, x) for name, each in weights.items()})
        # By nearest neighbour.
        return low + (high - low) * xp.clip(large[:, :, ::2, ::2], 0.0, 1.0)

    def _denoised(self, x: Array) -> Array:
        if x.shape[1] == 1:
            return bayes_shrink(x, self.sigma)
        # Divided so that noise that is the same in R, G and B is the same in Y, Cb and Cr.
        matrix = TO_YCBCR / np.linalg.norm(TO_YCBCR, axis=1, keepdims=True)
        there, back = (edsr.tensor(each, x) for each in (matrix, np.linalg.inv(matrix)))
        return mixed(back, bayes_shrink(mixed(there, x), self.sigma))


class SuperResolutionPyTorch(PyTorchDefence, SuperResolution):
    """The same for PyTorch tensors; parameters as of :class:`SuperResolution`."""


class SuperResolutionTensorFlowV2(TensorFlowDefence, SuperResolution):
    """The same for TensorFlow tensors; parameters as of :class:`SuperResolution`."""


def _read(path: str | Path) -> Trained:
    """Read a file that `save` wrote."""
    advice = "Give a file that SuperResolution.save wrote."
    try:
        with reading(Path(path), advice) as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise ValueError(f"There is no file {path}. {advice}") from error
    if header.get("format") != FORMAT or not edsr.is_network(weights):
        raise ValueError(f"{path} is a safetensors file, but not of this network. {advice}")
    return Trained(weights, Reached(*json.loads(header["reached"])))
