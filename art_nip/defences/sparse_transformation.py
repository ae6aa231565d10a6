"""The sparse transformation layer (STL): what few filters of natural images cannot say is dropped.

Sun et al., "Adversarial Defense by Stratified Convolutional Sparse Coding", CVPR 2019,
https://arxiv.org/abs/1812.00037.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import NotFittedError
from tqdm.auto import tqdm

from art_nip.defences import sparse_coding
from art_nip.defences.base import ImageDefence, PyTorchDefence, TensorFlowDefence
from art_nip.defences.dct import dct_matrix
from art_nip.defences.sparse_coding import Filters, Spectra
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.files import reading, write_arrays
from art_nip.utils.seeds import generator
from art_nip.utils.validation import check_number, check_whole, numeric

FORMAT = "art-nip sparse transformation"

CROP = 32
"""Filters are learned on crops of this height and width, so that large images take no longer."""

LEARNING_BATCH = 16

DRAWING = 1024
"""Crops of which the first filters are patches, at most."""

OF_THE_FIT = ("n_filters", "filter_size", "lmbda", "smoothing", "n_crops", "seed")
"""Parameters that decide what is learned, but for the range of the images."""

Defence = TypeVar("Defence", bound="SparseTransformation")


class SparseTransformation(ImageDefence):
    """Rebuild each image from sparse codes of learned filters (STL; Sun et al. 2019).

    The smooth part of an image, the minimiser of ½‖low − x‖² + ½ `smoothing` · ‖gradient of low‖²,
    stays as it is. The rest becomes Σ filter ∗ code, with the codes that minimise
    ½‖rest − Σ filter ∗ code‖² + `lmbda` · ‖codes‖₁ (convolutional basis pursuit). `fit` learns the
    filters on benign images, one set for all, as in the authors' variant "without clustering".
    The authors also retrain the classifier on rebuilt images; `apply_fit` does so. The gradient of
    this defence is given as the identity.

    :param lmbda: λ, above 0, for images of range 1 (others are scaled by `clip_values`). The
        authors' code says that 0.1 to 0.3 is good.
    :param smoothing: how smooth the part is that stays, 0 for all; the authors have 5.
    :param n_filters: how many filters are learned.
    :param filter_size: their height and width.
    :param iterations: of ADMM. A hundred end within .002 of the minimum for photographs of 32×32,
        and within .005, where the authors' code stops, for digits.
    :param n_crops: how many crops of at most 32×32 fitting looks at, one from each image drawn; if
        there are fewer images, from some of them again.
    :param seed: of what fitting draws; None draws from NumPy's global state, as ART does.
    :param channels_first: whether images are (C, H, W) or (H, W, C).
    :param clip_values: range (min, max) of the images, two numbers; None leaves the result as it
        is, and takes the range for 1.
    :param apply_fit: whether the defence is applied when the defended classifier is trained.
    :param apply_predict: whether the defence is applied when it predicts.
    :param batch_size: how many images are treated at once; each of 224×224 takes 80 MB.
    :param verbose: whether fitting shows a progress bar.
    :param framework: `device_type` of the PyTorch class; see :class:`ImageDefence`.
    :raises ValueError: if a parameter is not allowed.
    """

    params = [  # noqa: RUF012 - as ART has it
        "lmbda",
        "smoothing",
        "n_filters",
        "filter_size",
        "iterations",
        "n_crops",
        "seed",
        "channels_first",
        "clip_values",
        "batch_size",
        "verbose",
    ]

    def __init__(
        self,
        lmbda: float = 0.2,
        smoothing: float = 5.0,
        n_filters: int = 64,
        filter_size: int = 8,
        iterations: int = 100,
        n_crops: int = 1600,
        seed: int | None = None,
        channels_first: bool = False,
        clip_values: tuple[float, float] | None = None,
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
        """What was learned, float32, shape (M, C, K, K), each of norm 1.

        :raises NotFittedError: if nothing was.
        """
        if self._filters is None:
            raise NotFittedError(
                f"This {type(self).__name__} has no filters yet: call fit(x_benign), or load a "
                "saved one."
            )
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
        if kwargs:
            raise TypeError(f"fit takes x and y only; it was given {', '.join(kwargs)} too.")
        images = numeric(x)
        super()._check_images(images)
        if len(images) == 0:
            raise ValueError(
                "fit was given no image; SparseTransformation needs benign images to learn from."
            )
        rng = generator(self.seed)
        crops = self._crops(images, rng)
        first = sparse_coding.drawn(crops[:DRAWING], self.n_filters, self.filter_size, rng)
        self._adopt(
            sparse_coding.learned(
                self._batches(crops), first, self.lmbda, self._tensor, self._numpy
            )
        )

    def save(self, path: str | Path) -> None:
        """Save what was learned, and all parameters, to one safetensors file, whole or not at all.

        :param path: the file; an existing one is replaced.
        :raises NotFittedError: if nothing was fitted.
        """
        names = (*self.params, "apply_fit", "apply_predict")
        values = {name: getattr(self, name) for name in names}
        # ART's classifiers hold their clip_values as an array.
        parameters = json.dumps(values, default=lambda value: np.asarray(value).tolist())
        metadata = {"format": FORMAT, "parameters": parameters}
        write_arrays(Path(path), {"filters": self.filters}, metadata)

    @classmethod
    def load(cls: type[Defence], path: str | Path, **framework: Any) -> Defence:
        """Return the defence that was saved, for NumPy, PyTorch or TensorFlow.

        :param path: a file written by `save`, of any of the three.
        :param framework: `device_type` of the PyTorch class.
        :raises FileNotFoundError: if there is no such file.
        :raises ValueError: if it is truncated, or not such a file.
        """
        with reading(Path(path), "Copy it again, or fit and save anew.") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise ValueError(
                    f"{path} is a safetensors file, but holds no filters of a SparseTransformation."
                )
            filters = file.get_tensor("filters")
        defence = cls(**json.loads(header["parameters"]), **framework)
        defence._adopt(filters)
        return defence

    def set_params(self, **kwargs: Any) -> None:
        """Change parameters; all of them, or none if one is not allowed.

        The filters are dropped when a parameter changes that fitting depends on.

        :param kwargs: as of the class.
        :raises ValueError: if a name or a value is not allowed.
        """
        before = [getattr(self, name) for name in OF_THE_FIT]
        super().set_params(**kwargs)
        if before != [getattr(self, name) for name in OF_THE_FIT]:
            self._adopt(None)

    def _adopt(self, filters: Filters | None) -> None:
        self._filters = filters
        self._is_fitted = filters is not None

    def _check_params(self) -> None:
        super()._check_params()
        check_number("lmbda", self.lmbda, low=1e-6)
        check_number("smoothing", self.smoothing, low=0)
        check_whole("filter_size", self.filter_size, least=2)
        for name in ("n_filters", "iterations", "n_crops"):
            check_whole(name, getattr(self, name), least=1)
        if self.seed is not None:
            check_whole("seed", self.seed, least=0)
        if not isinstance(self.verbose, bool):
            raise ValueError(f"verbose={self.verbose!r}; give True or False.")

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

        def tensor(values: npt.NDArray[Any]) -> Array:
            return self._tensor(values, like=x)

        spectra = Spectra.of(self.filters, height, width, rho, tensor)
        codes = sparse_coding.coded(details, spectra, self.lmbda, self.iterations)
        return low + self._range() * sparse_coding.synthesised(codes, spectra)

    def _range(self) -> float:
        return 1.0 if self.clip_values is None else float(self.clip_values[1] - self.clip_values[0])

    def _stratified(self, x: Array) -> tuple[Array, Array]:
        """Return the smooth part, and the rest for a range of 1."""
        low = self._smooth(x)
        return low, (x - low) / self._range()

    def _smooth(self, x: Array) -> Array:
        """Return the minimiser of ½‖low − x‖² + ½ smoothing · ‖differences of neighbours‖².

        The DCT diagonalises it.
        """
        xp = namespace(x)

        def along_rows(x: Array, matrix: npt.NDArray[np.float64]) -> Array:
            # Of two axes: of more, TensorFlow 2.21 broadcasts matrices with a segmentation fault.
            matrix = self._tensor(np.ascontiguousarray(matrix, np.float32), like=x)
            return xp.reshape(xp.matmul(xp.reshape(x, (-1, x.shape[3])), matrix), x.shape)

        def turned(x: Array) -> Array:
            return xp.permute_dims(x, (0, 1, 3, 2))

        sides = (x.shape[2], x.shape[3])
        row_waves, column_waves = (dct_matrix(side) for side in sides)
        # A difference multiplies the k-th wave by this, squared.
        rows, columns = (4 * np.sin(np.pi * np.arange(side) / (2 * side)) ** 2 for side in sides)
        kept = (1 / (1 + self.smoothing * np.add.outer(columns, rows))).astype(np.float32)
        spectrum = along_rows(turned(along_rows(x, column_waves.T)), row_waves.T)
        spectrum = self._tensor(kept, like=x) * spectrum
        return along_rows(turned(along_rows(spectrum, row_waves)), column_waves)

    def _crops(
        self, images: npt.NDArray[np.float32], rng: np.random.Generator
    ) -> npt.NDArray[np.float32]:
        """Draw crops of the details of images, shape (n_crops, C, at most 32, at most 32)."""
        side = max(CROP, self.filter_size)
        chosen = np.resize(rng.permutation(len(images)), self.n_crops)
        crops = []
        for k in chosen:
            image = images[k] if self.channels_first else np.moveaxis(images[k], -1, 0)
            top, left = (rng.integers(max(0, size - side) + 1) for size in image.shape[1:])
            crops.append(image[:, top : top + side, left : left + side])
        x = self._tensor(np.stack(crops))
        return self._numpy(self._stratified(x)[1])

    def _batches(self, crops: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
        starts = range(0, len(crops), LEARNING_BATCH)
        for start in tqdm(starts, "STL fit", disable=not self.verbose):
            yield crops[start : start + LEARNING_BATCH]


class SparseTransformationPyTorch(PyTorchDefence, SparseTransformation):
    """The same for PyTorch tensors; parameters as of :class:`SparseTransformation`."""


class SparseTransformationTensorFlowV2(TensorFlowDefence, SparseTransformation):
    """The same for TensorFlow tensors; parameters as of :class:`SparseTransformation`."""
