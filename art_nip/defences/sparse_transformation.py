"""The sparse transformation layer (STL): it keeps what a few filters of natural images can express.

Sun et al., "Adversarial Defense by Stratified Convolutional Sparse Coding", CVPR 2019,
https://arxiv.org/abs/1812.00037.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from art_nip.defences import sparse_coding
from art_nip.defences.base import SETTINGS, Settings
from art_nip.defences.exact import ExactDefence
from art_nip.defences.learned import Arrays, LearnedDefence
from art_nip.defences.pytorch import PyTorchDefence
from art_nip.defences.sparse_coding import Filters, Spectra
from art_nip.defences.tensorflow import TensorFlowDefence
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.dct import dct_matrix
from art_nip.utils.kept import Kept
from art_nip.utils.seeds import generator
from art_nip.utils.validation import check_flag, check_number, check_seed, check_whole

if TYPE_CHECKING:
    from typing_extensions import Unpack

CROP = 32
"""Filters are learned on crops of this height and width, so that large images take no longer."""

LEARNING_BATCH = 16

CROPS_TO_DRAW_FROM = 1024
"""The largest number of crops from which the patches for the first filters are drawn."""


class SparseTransformation(ExactDefence, LearnedDefence):
    """Rebuild each image from sparse codes of learned filters (STL; Sun et al. 2019).

    The smooth part of an image, the minimiser of ½‖low − x‖² + ½ `smoothing` · ‖gradient of low‖²,
    stays as it is. The rest becomes Σ filter ∗ code, with the codes that minimise
    ½‖rest − Σ filter ∗ code‖² + `lmbda` · ‖codes‖₁ (convolutional basis pursuit). `fit` learns the
    filters on benign images, one set for all, as in the authors' variant "without clustering".
    The authors also retrain the classifier on rebuilt images; `apply_fit` does so. The gradient of
    this defence is given as the identity.

    :param lmbda: λ, above 0, for images of range 1. The authors' code says that 0.1 to 0.3 is good.
    :param smoothing: smoothness of the part that stays, 0 for the whole image; the authors have 5.
    :param n_filters: number of filters to learn.
    :param filter_size: their height and width.
    :param iterations: iterations of ADMM. A hundred end within .002 of the minimum for photographs
        of 32×32, and within .005, where the authors' code stops, for digits.
    :param n_crops: number of crops of at most 32×32 to learn from, one from each image drawn; if
        there are fewer images, some give several crops.
    :param seed: seed of what fitting draws; None draws from NumPy's global state, as ART does.
    :param verbose: whether fitting shows a progress bar.
    :param settings: see :class:`art_nip.defences.base.ImageDefence`. Each image of 224×224 of a
        batch takes 80 MB.
    :raises ValueError: if a parameter is not allowed.
    """

    of_the_fit = ("n_filters", "filter_size", "lmbda", "smoothing", "n_crops", "seed")
    params = [*of_the_fit, "iterations", "verbose", *SETTINGS]  # noqa: RUF012 - as ART has it
    default_batch_size = 16
    file_format = "art-nip sparse transformation"

    def __init__(
        self,
        lmbda: float = 0.2,
        smoothing: float = 5.0,
        n_filters: int = 64,
        filter_size: int = 8,
        iterations: int = 100,
        n_crops: int = 1600,
        seed: int | None = None,
        verbose: bool = True,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.lmbda = lmbda
        self.smoothing = smoothing
        self.n_filters = n_filters
        self.filter_size = filter_size
        self.iterations = iterations
        self.n_crops = n_crops
        self.seed = seed
        self.verbose = verbose
        self._check_params()
        self._adopt(None)

    @property
    def filters(self) -> Filters:
        """The learned filters, float32, shape (M, C, K, K), each filter of norm 1.

        :raises NotFittedError: if nothing was.
        """
        if self._filters is None:
            raise self._not_fitted("filters")
        return self._filters

    def fit(self, x: npt.ArrayLike, y: Any | None = None, **kwargs: Any) -> None:
        """Learn the filters from benign images.

        :param x: images, shape (N, C, H, W) or (N, H, W, C), in the range of `clip_values`, of the
            kind that will be defended; they may have another size.
        :param y: not looked at.
        :raises TypeError: if images are no numbers.
        :raises ValueError: if they have another shape, are smaller than a filter, none, or contain
            NaN or infinite values.
        """
        images = self._to_learn_from(x, kwargs)
        if len(images) == 0:
            raise ValueError(
                "fit was given no image; SparseTransformation needs benign images to learn from."
            )
        rng = generator(self.seed)
        with self._undisturbed():
            crops = self._crops(images, rng)
            first = sparse_coding.drawn(
                crops[:CROPS_TO_DRAW_FROM], self.n_filters, self.filter_size, rng
            )
            self._adopt(
                sparse_coding.learned(
                    self._crop_batches(crops), first, self.lmbda, self._tensor, self._numpy
                )
            )

    def _learned_arrays(self) -> tuple[Arrays, Any]:
        return {"filters": self.filters}, None

    def _adopt_arrays(self, arrays: Arrays, facts: Any) -> None:
        filters = arrays["filters"]
        expected = (self.n_filters, self.filter_size, self.filter_size)
        if filters.ndim != 4 or (filters.shape[0], *filters.shape[2:]) != expected:
            raise ValueError(f"the filters have shape {filters.shape}")
        norms = np.sqrt(np.square(filters, dtype=np.float64).sum(axis=(1, 2, 3)))
        if not np.allclose(norms, 1, atol=1e-3):
            raise ValueError(
                f"the filters have norms from {norms.min():g} to {norms.max():g}, not of 1"
            )
        self._adopt(filters)

    def _forget(self) -> None:
        self._adopt(None)

    def _adopt(self, filters: Filters | None) -> None:
        self._filters = filters
        self._spectra: Kept[Spectra] = Kept()
        self._is_fitted = filters is not None

    def _check_params(self) -> None:
        super()._check_params()
        check_number("lmbda", self.lmbda, low=1e-6)
        check_number("smoothing", self.smoothing, low=0)
        check_whole("filter_size", self.filter_size, least=2)
        for name in ("n_filters", "iterations", "n_crops"):
            check_whole(name, getattr(self, name), least=1)
        check_seed(self.seed)
        check_flag("verbose", self.verbose)

    def _check_images(self, x: Array) -> None:
        fitted = self.filters.shape[1]
        super()._check_images(x)
        channels = x.shape[1 if self.channels_first else 3]
        if channels != fitted:
            raise ValueError(
                f"Images have {channels} channels; this {type(self).__name__} was fitted on images "
                f"with {fitted}. Check channels_first={self.channels_first}, or fit anew."
            )

    def _check_size(self, channels: int, height: int, width: int) -> None:
        if min(height, width) < self.filter_size:
            raise ValueError(
                f"Images are {height}×{width} pixels, smaller than a filter of "
                f"{self.filter_size}×{self.filter_size}. Resize them, or set filter_size; check "
                f"channels_first={self.channels_first}."
            )

    def _defend(self, x: Array) -> Array:
        low, details = self._stratified(x)
        _, _, height, width = x.shape
        rho = sparse_coding.penalty(self.lmbda)

        def spectra_of() -> Spectra:
            return Spectra.of(
                self.filters, height, width, rho, lambda values: self._tensor(values, like=x)
            )

        where = str(getattr(x, "device", None))
        spectra = self._spectra.get((height, width, rho, type(x), where), spectra_of)
        codes = sparse_coding.coded(details, spectra, self.lmbda, self.iterations)
        return low + sparse_coding.synthesised(codes, spectra)

    def _stratified(self, x: Array) -> tuple[Array, Array]:
        """Return the smooth part, and the rest."""
        low = self._smooth(x)
        return low, x - low

    def _smooth(self, x: Array) -> Array:
        """Return the minimiser of ½‖low − x‖² + ½ smoothing · ‖differences of neighbours‖².

        The DCT diagonalises it.
        """
        xp = namespace(x)

        def along_rows(x: Array, matrix: npt.NDArray[np.float64]) -> Array:
            # Matrices are multiplied along two axes: with more, TensorFlow 2.21 has a segmentation
            # fault.
            matrix = self._beside(np.ascontiguousarray(matrix, np.float32), x)
            return xp.reshape(xp.matmul(xp.reshape(x, (-1, x.shape[3])), matrix), x.shape)

        def turned(x: Array) -> Array:
            return xp.permute_dims(x, (0, 1, 3, 2))

        sides = (x.shape[2], x.shape[3])
        row_waves, column_waves = (dct_matrix(side) for side in sides)
        # The squared difference operator multiplies the k-th wave by this factor.
        rows, columns = (4 * np.sin(np.pi * np.arange(side) / (2 * side)) ** 2 for side in sides)
        kept = (1 / (1 + self.smoothing * np.add.outer(columns, rows))).astype(np.float32)
        spectrum = along_rows(turned(along_rows(x, column_waves.T)), row_waves.T)
        spectrum = self._beside(kept, x) * spectrum
        return along_rows(turned(along_rows(spectrum, row_waves)), column_waves)

    def _crops(
        self, images: npt.NDArray[np.float32], rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """Draw crops of the details of images of range 1, channels first.

        :return: shape (n_crops, C, at most 32, at most 32).
        """
        side = max(CROP, self.filter_size)
        chosen = np.resize(rng.permutation(len(images)), self.n_crops)
        crops = []
        for k in chosen:
            image = images[k]
            top, left = (rng.integers(max(0, size - side) + 1) for size in image.shape[1:])
            crops.append(image[:, top : top + side, left : left + side])
        x = self._tensor(np.stack(crops))
        return self._numpy(self._stratified(x)[1])

    def _crop_batches(self, crops: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
        starts = range(0, len(crops), LEARNING_BATCH)
        for start in tqdm(starts, "STL fit", disable=not self.verbose):
            yield crops[start : start + LEARNING_BATCH]


class SparseTransformationPyTorch(PyTorchDefence, SparseTransformation):
    """The same for PyTorch tensors; parameters as in :class:`SparseTransformation`."""


class SparseTransformationTensorFlowV2(TensorFlowDefence, SparseTransformation):
    """The same for TensorFlow tensors; parameters as in :class:`SparseTransformation`."""
