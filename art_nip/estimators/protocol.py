"""What a classifier must have for NIP, as a type: as ART's for PyTorch and TensorFlow are."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy.typing as npt


class DefendableClassifier(Protocol):
    """An ART classifier whose layers and gradients can be seen.

    `PyTorchClassifier`, `TensorFlowV2Classifier` and `KerasClassifier` (in eager mode) are such.
    """

    @property
    def model(self) -> Any:
        """The `nn.Module` or `keras.Model` that does the work."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one image."""

    @property
    def nb_classes(self) -> int:
        """How many classes it tells apart."""

    @property
    def channels_first(self) -> bool:
        """Whether the axis of channels is the first of an image, not the last."""

    @property
    def clip_values(self) -> Any:
        """Range (min, max) of the images, numbers or arrays; None if it was not told."""

    @property
    def preprocessing(self) -> Any:
        """Mean and standard deviation that it takes images by, or None."""

    @property
    def preprocessing_defences(self) -> Sequence[Any] | None:
        """Defences that images go through before the model sees them."""

    def predict(self, x: npt.NDArray[Any], batch_size: int = 128, **kwargs: Any) -> Any:
        """Return scores of images, shape (N, nb_classes)."""
