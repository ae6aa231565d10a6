"""Super-resolution: wavelet denoising, then a network that puts images back among natural ones.

Mustafa et al., "Image Super-Resolution as a Defense Against Adversarial Attacks", IEEE Transactions
on Image Processing 2019, https://arxiv.org/abs/1901.01677.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from art_nip.defences import edsr
from art_nip.defences.base import SETTINGS, Settings
from art_nip.defences.edsr import training
from art_nip.defences.edsr.training import Reached, Trained
from art_nip.defences.exact import ExactDefence
from art_nip.defences.learned import Arrays, LearnedDefence, read_learned, refusing
from art_nip.defences.pytorch import PyTorchDefence
from art_nip.defences.tensorflow import TensorFlowDefence
from art_nip.defences.wavelets import bayes_shrink
from art_nip.utils.arrays import Array, namespace, to_numpy
from art_nip.utils.colour import TO_YCBCR, check_grey_or_rgb, mixed
from art_nip.utils.kept import Kept
from art_nip.utils.seeds import generator
from art_nip.utils.validation import check_flag, check_number, check_seed, check_whole

if TYPE_CHECKING:
    from typing_extensions import Unpack

MIN_SIDE = 4
"""Smallest side of an image; training halves it."""


class SuperResolution(ExactDefence, LearnedDefence):
    """Denoise by wavelets, double the size by EDSR, and bring it back (Mustafa et al. 2019).

    The details of YCbCr that noise of standard deviation `sigma` could have made are removed by
    BayesShrink, as the authors do with scikit-image. EDSR enlarges the image ×2. The authors'
    classifier is given the larger image; others take one size, to which it is brought back by
    nearest neighbour, the default of Keras, through which the authors read images. (Bicubic
    resizing undoes the super-resolution, and with it half of the defence.) The gradient of this
    defence is given as the identity.

    No weights of EDSR come with this package: `fit` trains a small one on benign images, in PyTorch
    if that is installed, else in TensorFlow; this class runs it there too.

    :param sigma: standard deviation of the noise, as a share of the range; 0 skips the denoising.
        The authors' code has 0.04.
    :param weights: a file that `save` wrote: its network is used, whatever `fit` is given, so that
        spec files can name it; None takes what `fit` learns.
    :param features: channels between the convolutions of the network that `fit` trains.
    :param blocks: its residual blocks. EDSR's baseline has 64 and 16; 32 and 6 are trained in
        minutes.
    :param steps: number of batches of 16 images that `fit` trains on.
    :param seed: seed of `fit`; None draws one from NumPy's global state.
    :param verbose: whether `fit` shows progress.
    :param settings: see :class:`art_nip.defences.base.ImageDefence`; `clip_values` are needed.
        Images have 1 or 3 (RGB) channels.
    :raises ValueError: if a parameter is not allowed, or `weights` is no such file.
    :raises FileNotFoundError: if there is no file `weights`.
    """

    of_the_fit = ("weights", "features", "blocks", "steps", "seed")
    params = ["sigma", *of_the_fit, "verbose", *SETTINGS]  # noqa: RUF012 - as ART has it
    default_batch_size = 16
    needs_clip_values = True
    file_format = "art-nip EDSR"

    def __init__(
        self,
        sigma: float = 0.04,
        weights: str | Path | None = None,
        features: int = 32,
        blocks: int = 6,
        steps: int = 1500,
        seed: int | None = None,
        verbose: bool = True,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.sigma = sigma
        self.weights = weights
        self.features = features
        self.blocks = blocks
        self.steps = steps
        self.seed = seed
        self.verbose = verbose
        self._on_device: Kept[tuple[edsr.Weights, Mapping[str, Array]]] = Kept()
        self._learned: Trained | None = None
        self._file: tuple[str | Path, Trained] | None = None
        self._check_params()

    def _check_params(self) -> None:
        super()._check_params()
        check_number("sigma", self.sigma, low=0)
        for name in ("features", "blocks", "steps"):
            check_whole(name, getattr(self, name), least=1)
        check_seed(self.seed)
        check_flag("verbose", self.verbose)
        if self.weights is None or (self._file and self._file[0] == self.weights):
            return
        if not isinstance(self.weights, (str, Path)):
            raise ValueError(f"weights={self.weights!r}; give the path of a file, or None.")
        self._file = self.weights, self._read(self.weights)

    def _read(self, path: str | Path) -> Trained:
        """Read the network of a file."""
        saved = read_learned(path, SuperResolution)
        with refusing(path, SuperResolution):
            return _network_of(saved.arrays, saved.facts)

    def _check_size(self, channels: int, height: int, width: int) -> None:
        check_grey_or_rgb(channels, self.channels_first)
        if min(height, width) < MIN_SIDE:
            raise ValueError(
                f"Images are {height}×{width} pixels; the least is {MIN_SIDE}×{MIN_SIDE}. "
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
        if self.weights is not None:
            return
        images = self._to_learn_from(x, kwargs)
        if len(images) < 2:
            raise ValueError(
                f"fit was given {len(images)} images; give at least two, one to train on and one "
                "to keep apart. A good network takes some hundreds."
            )
        like = edsr.in_framework(self._tensor(images[:1]))
        self._learned = training.train(
            images,
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

    def _saved_parameters(self) -> dict[str, Any]:
        # The file holds the network itself.
        return {**super()._saved_parameters(), "weights": None}

    def _learned_arrays(self) -> tuple[Arrays, Any]:
        weights, reached = self._network()
        return weights, reached

    def _adopt_arrays(self, arrays: Arrays, facts: Any) -> None:
        self._learned = _network_of(arrays, facts)

    def _forget(self) -> None:
        self._learned = None

    def _network(self) -> Trained:
        if self.weights is not None and self._file is not None:
            return self._file[1]
        if self._learned is None:
            raise self._not_fitted("network")
        return self._learned

    # Defending

    def _defend(self, x: Array) -> Array:
        if isinstance(x, np.ndarray):  # NumPy has no convolutions.
            return to_numpy(self._defend(edsr.in_framework(x)))
        xp = namespace(x)
        # float64, so that what counts as noise does not depend on the framework.
        x = xp.clip(self._in_float64(x, self._denoised), 0.0, 1.0)
        large = edsr.doubled(x, self._weights_beside(x))
        # Resizing by nearest neighbour.
        return xp.clip(large[:, :, ::2, ::2], 0.0, 1.0)

    def _weights_beside(self, x: Array) -> Mapping[str, Array]:
        """Return the network's weights on the device of images."""
        weights = self._network().weights
        where = str(getattr(x, "device", None))
        # Together with the weights: these may be others some time.
        _, found = self._on_device.get(
            (id(weights), type(x), where),
            lambda: (weights, {name: edsr.tensor(array, x) for name, array in weights.items()}),
        )
        return found

    def _denoised(self, x: Array) -> Array:
        if x.shape[1] == 1:
            return bayes_shrink(x, self.sigma)
        there, back = self._constants.get(
            ("colours", type(x), str(x.device)), lambda: _colours_beside(x)
        )
        return mixed(back, bayes_shrink(mixed(there, x), self.sigma))


class SuperResolutionPyTorch(PyTorchDefence, SuperResolution):
    """The same for PyTorch tensors; parameters as in :class:`SuperResolution`."""


class SuperResolutionTensorFlowV2(TensorFlowDefence, SuperResolution):
    """The same for TensorFlow tensors; parameters as in :class:`SuperResolution`."""


def _colours_beside(x: Array) -> tuple[Array, Array]:
    """Return the matrices from RGB and back, on the device of images."""
    # Channels are divided so that equal noise in R, G and B is equal in Y, Cb and Cr.
    matrix = TO_YCBCR / np.linalg.norm(TO_YCBCR, axis=1, keepdims=True)
    return edsr.tensor(matrix, x), edsr.tensor(np.linalg.inv(matrix), x)


def _network_of(arrays: Arrays, facts: Any) -> Trained:
    """Return a network and its PSNR, from what `_learned_arrays` returned."""
    if not edsr.is_network(arrays):
        raise ValueError("its arrays are not the weights of a network")
    psnr, bicubic, n = facts
    return Trained(arrays, Reached(float(psnr), float(bicubic), int(n)))
