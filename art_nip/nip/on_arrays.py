"""Functions of tensors, run on arrays of images that users give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.estimators.base import EstimatorAdapter
from art_nip.nip.parameters import Parameters
from art_nip.nip.undisturbed import undisturbed
from art_nip.utils.arrays import Array
from art_nip.utils.validation import check_images, numeric


class RunsOnArrays:
    """A mixin that checks arrays, shows them to functions a batch at a time, and returns arrays."""

    _adapter: EstimatorAdapter
    parameters: Parameters

    def _checked(self, x: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return images in float32; refuse what has another shape or range, or NaN."""
        images = numeric(x)
        check_images(images, self._adapter.input_shape, self.parameters.clip_values)
        return images

    def _batched(
        self,
        x: npt.ArrayLike,
        function: Callable[[Array], Array],
        shape: tuple[int, ...],
        dtype: npt.DTypeLike = np.float32,
    ) -> npt.NDArray[Any]:
        """Apply a function of tensors to images that are checked; see `_each_batch`."""
        return self._each_batch(self._checked(x), function, shape, dtype)

    @undisturbed
    def _each_batch(
        self,
        images: npt.NDArray[np.float32],
        function: Callable[[Array], Array],
        shape: tuple[int, ...],
        dtype: npt.DTypeLike = np.float32,
    ) -> npt.NDArray[Any]:
        """Apply a function of tensors to images, some at a time; `shape` is that of one result."""
        size = self.parameters.batch_size
        results = np.empty((len(images), *shape), dtype)
        for start in range(0, len(images), size):
            batch = self._adapter.tensor(images[start : start + size])
            results[start : start + size] = self._adapter.numpy(function(batch))
        return results

    @undisturbed
    def _array(self, function: Callable[[], Array]) -> npt.NDArray[np.float32]:
        """Return the tensor that a function gives as an array."""
        return self._adapter.numpy(function())
