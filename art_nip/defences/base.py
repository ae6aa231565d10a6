"""The base class of all defences of images: settings, units, axis order, batches, frameworks.

A defence says in `_defend` what it does to images in [0, 1] with channels first; the rest is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor.preprocessor import (
    Preprocessor,
    PreprocessorPyTorch,
    PreprocessorTensorFlowV2,
)

from art_nip.defences.checks import (
    channels_first,
    check_range,
)
from art_nip.utils.arrays import Array, namespace
from art_nip.utils.frameworks import Framework, framework_of
from art_nip.utils.kept import Kept
from art_nip.utils.ranges import PixelRange
from art_nip.utils.validation import (
    check_choice,
    check_classifier,
    check_flag,
    check_images,
    check_whole,
    is_predicting,
    numeric,
)

if TYPE_CHECKING:
    from typing_extensions import Self

CONSTANTS_KEPT = 16
"""The number of constants, such as bounds and matrices, that a defence keeps on the device."""

SETTINGS = ("channels_first", "clip_values", "batch_size")
"""The settings that ART's `set_params` may change."""


class Settings(TypedDict, total=False):
    """The keywords that all defences of images take; see :class:`ImageDefence`."""

    channels_first: bool
    clip_values: tuple[Any, Any] | None
    apply_fit: bool
    apply_predict: bool
    batch_size: int
    device_type: str


class ImageDefence(Preprocessor, ABC):  # type: ignore[misc]
    """A defence of images whose gradient is the identity (BPDA, Athalye et al. 2018).

    The defended pictures do not depend on the unit of the images: the same pictures in [0, 1],
    [0, 255] or standardised come out the same, to rounding.

    :param channels_first: whether images are (C, H, W) or (H, W, C).
    :param clip_values: range (min, max) of the images: two numbers, or two arrays that broadcast to
        an image, such as one value for each channel. The result is clipped to it. None takes 0 to 1
        for the range, and clips nothing; defences that need the range refuse it.
    :param apply_fit: whether the defence is applied when the defended classifier is trained.
    :param apply_predict: whether the defence is applied when it predicts.
    :param batch_size: how many images are treated at once; each class has its own default.
    :param framework: `device_type`, "gpu" or "cpu", of the PyTorch classes, as in ART: where NumPy
        images are sent. Tensors stay on their device.
    :raises TypeError: if there is no such setting.
    """

    params: ClassVar[list[str]] = [*SETTINGS]
    default_batch_size: ClassVar[int] = 128
    needs_clip_values: ClassVar[bool] = False

    def __init__(
        self,
        *,
        channels_first: bool = False,
        clip_values: tuple[Any, Any] | None = None,
        apply_fit: bool = False,
        apply_predict: bool = True,
        batch_size: int | None = None,
        **framework: Any,
    ) -> None:
        self._check_names(framework)
        check_flag("apply_fit", apply_fit)
        check_flag("apply_predict", apply_predict)
        super().__init__(
            is_fitted=True, apply_fit=apply_fit, apply_predict=apply_predict, **framework
        )
        self.channels_first = channels_first
        self.clip_values = clip_values
        self.batch_size = self.default_batch_size if batch_size is None else batch_size
        self._constants: Kept[Array] = Kept(CONSTANTS_KEPT)

    @classmethod
    def for_estimator(cls, estimator: Any, **parameters: Any) -> Self:
        """Return the defence for an ART classifier, of the class that its framework needs.

        :param estimator: an ART classifier; the defence follows its channel order, its clip values
            and its device.
        :param parameters: see the class.
        :raises TypeError: if it is no ART classifier.
        :raises ValueError: if a parameter is not allowed.
        """
        check_classifier(estimator, cls.__name__)
        told = {
            "channels_first": channels_first(estimator),
            "clip_values": estimator.clip_values,
        }
        kind = cls._for_framework(framework_of(estimator))
        if issubclass(kind, PreprocessorPyTorch):
            told["device_type"] = "cpu" if str(estimator.device) == "cpu" else "gpu"
        defence = kind(**{**told, **parameters})
        if issubclass(kind, PreprocessorPyTorch) and "device_type" not in parameters:
            # Of several GPUs, ART would take the current one.
            defence._device = estimator.device
        return defence

    @classmethod
    def _for_framework(cls, framework: Framework | None) -> type[Self]:
        """Return the class of this defence for a framework; None stands for NumPy."""
        bases = {
            Framework.PYTORCH: PreprocessorPyTorch,
            Framework.TENSORFLOW: PreprocessorTensorFlowV2,
        }
        base = bases.get(framework) if framework else None
        of_framework = (kind for kind in cls.__subclasses__() if base and issubclass(kind, base))
        return next(of_framework, cls)

    @classmethod
    def check_parameters(cls, **parameters: Any) -> None:
        """Raise a ValueError if a parameter is not allowed, whatever the classifier is.

        :param parameters: as in the class, without what follows from the classifier.
        """
        cls(**{"clip_values": (0.0, 1.0), **parameters})

    def __call__(
        self, x: npt.ArrayLike, y: Any | None = None
    ) -> tuple[npt.NDArray[np.float32], Any | None]:
        """Return the defended images, float32, shape of x, and y as it was.

        If one of ART's classifiers calls the defence while it predicts, NaN and infinite values are
        allowed, as in :meth:`forward`: some attacks make NaN of an image.

        :param x: images, shape (N, C, H, W) or (N, H, W, C), in the range of `clip_values`.
        :param y: anything.
        :raises TypeError: if images are no numbers.
        :raises ValueError: if they have another shape, or contain NaN or infinite values.
        """
        images = numeric(x)
        if is_predicting():
            defended, _ = self.forward(self._tensor(images))
            return np.asarray(self._numpy(defended), np.float32), y
        self._check_images(images)
        results = np.empty_like(images)
        with self._undisturbed():
            for batch in self._batches(len(images)):
                defended = self._clipped(self._treated(self._tensor(images[batch])))
                results[batch] = self._numpy(defended)
        return results, y

    def forward(self, x: Array, y: Any | None = None) -> tuple[Array, Any | None]:
        """Return the defended images as a tensor on its device; its gradient to x is the identity.

        An image that contains NaN or infinite values becomes one of NaN, as scores of a model
        without defence do; the others are defended as if it were not there.

        :param x: images, a tensor of shape (N, C, H, W) or (N, H, W, C). The work is done in
            float32; a result of another floating dtype is cast to it.
        :param y: anything.
        :raises ValueError: if images have another shape.
        """
        xp = namespace(x)
        images = xp.astype(x, xp.float32)
        with self._undisturbed(images):
            constant = self._constant(images)
            # 0 for an image of finite values, NaN for any other image.
            lost = xp.sum(constant * 0, axis=(1, 2, 3), keepdims=True) if x.ndim == 4 else 0
            sound = xp.where(lost == 0, constant, xp.zeros_like(constant))
            self._check_images(sound)
            if len(x) == 0:
                return x, y
            treated = xp.concat([self._treated(sound[batch]) for batch in self._batches(len(x))])
        # The order of the terms matters: the change is zero, so the result is exactly what was
        # computed.
        result = self._with_gradient(treated, images - constant) + lost
        return xp.astype(result, x.dtype) if self._is_floating(x) else result, y

    def estimate_gradient(self, x: npt.ArrayLike, grad: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """Return `grad`, as in `forward`.

        :param x: images.
        :param grad: gradients, shape of x, or with an axis of classes behind the first.
        """
        return np.array(grad, np.float32)

    def set_params(self, **kwargs: Any) -> None:
        """Change parameters; all of them, or none if one is not allowed.

        :param kwargs: see the class.
        :raises ValueError: if a name or a value is not allowed.
        """
        for name in kwargs:
            check_choice(f"parameter of {type(self).__name__}", name, self.params)
        before = {name: getattr(self, name) for name in kwargs}
        try:
            super().set_params(**kwargs)
        except BaseException:
            for name, value in before.items():
                setattr(self, name, value)
            raise

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.params)
        return f"{type(self).__name__}({given})"

    # What subclasses say

    @abstractmethod
    def _defend(self, x: Array) -> Array:
        """Defend images: float32, shape (N, C, H, W), of range 0 to 1."""

    @abstractmethod
    def _check_size(self, channels: int, height: int, width: int) -> None:
        """Raise a ValueError if images of this size cannot be defended."""

    def _check_params(self) -> None:
        check_flag("channels_first", self.channels_first)
        check_whole("batch_size", self.batch_size, least=1)
        if self.clip_values is not None:
            check_range(self.clip_values)
        elif self.needs_clip_values:
            raise ValueError(
                f"clip_values=None; {type(self).__name__} needs the range of the images: give "
                "(min, max), or give the classifier its clip_values."
            )

    def _check_images(self, x: Array) -> None:
        shape = tuple(x.shape)
        if len(shape) != 4:
            order = "(N, C, H, W)" if self.channels_first else "(N, H, W, C)"
            raise ValueError(f"Images have shape {shape}; {type(self).__name__} takes {order}.")
        # Values may lie outside the range: attacks on a classifier may leave it.
        check_images(x, shape[1:], clip_values=None)
        self._check_bounds(shape[1:])
        _, *sizes = shape
        channels, height, width = sizes if self.channels_first else (sizes[2], *sizes[:2])
        self._check_size(channels, height, width)

    # How it is done

    def _treated(self, x: Array) -> Array:
        """Defend images in the user's range and axis order, without gradients or clipping."""
        pixel_range = self._pixel_range(x)
        defended = self._in_order(pixel_range.unit(x))
        return pixel_range.pixels(defended)

    def _in_order(self, x: Array) -> Array:
        if self.channels_first:
            return self._defend(x)
        xp = namespace(x)
        return xp.permute_dims(self._defend(xp.permute_dims(x, (0, 3, 1, 2))), (0, 2, 3, 1))

    def _clipped(self, x: Array) -> Array:
        if self.clip_values is None:
            return x
        xp = namespace(x)
        low, high = (self._bound(bound, x) for bound in self.clip_values)
        # Minimum and maximum would not do: they halve the gradient of values on a bound.
        return xp.where(x < low, low, xp.where(x > high, high, x))

    def _with_gradient(self, treated: Array, change: Array) -> Array:
        """Clip the treated images, and let the gradient pass to the original images.

        :param treated: images without a gradient.
        :param change: zeros that have the gradient of the images.
        """
        return self._clipped(treated) + change

    def _units(self, images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return images to learn from in [0, 1], shape (N, C, H, W)."""
        clip_values = (0.0, 1.0) if self.clip_values is None else self.clip_values
        units = PixelRange.of(clip_values).unit(images)
        return np.asarray(units if self.channels_first else np.moveaxis(units, 3, 1), np.float32)

    def _pixel_range(self, x: Array) -> PixelRange:
        clip_values = (0.0, 1.0) if self.clip_values is None else self.clip_values
        return PixelRange.of(clip_values, lambda bound: self._bound(bound, x))

    def _bound(self, bound: Any, x: Array) -> Array:
        return self._beside(np.asarray(bound, np.float32), x)

    def _check_bounds(self, image_shape: tuple[int, ...]) -> None:
        for bound in () if self.clip_values is None else self.clip_values:
            shape = np.shape(bound)
            try:
                fits = np.broadcast_shapes(shape, image_shape) == image_shape
            except ValueError:
                fits = False
            if not fits:
                raise ValueError(
                    f"clip_values have shape {shape}, which does not broadcast to images of shape "
                    f"{image_shape}: give numbers, or for each channel arrays of shape "
                    f"{'(C, 1, 1)' if self.channels_first else '(C,)'}."
                )

    def _batches(self, n: int) -> Iterator[slice]:
        for start in range(0, n, self.batch_size):
            yield slice(start, start + self.batch_size)

    def _check_names(self, framework: dict[str, Any]) -> None:
        of_pytorch = isinstance(self, PreprocessorPyTorch)
        for name in framework:
            if name == "device_type" and of_pytorch:
                continue
            if name == "device_type":
                raise TypeError(
                    f"{type(self).__name__} has no device_type; only the classes for PyTorch do."
                )
            check_choice(
                f"parameter of {type(self).__name__}",
                name,
                [*self.params, "apply_fit", "apply_predict", *(["device_type"] * of_pytorch)],
            )

    # What differs between frameworks; this is for NumPy

    def _undisturbed(self, x: Array | None = None) -> AbstractContextManager[Any]:
        """Return a context in which modes that the caller has set change no result.

        :param x: images on the device of the computation; None for the device of NumPy images.
        """
        return nullcontext()

    def _tensor(self, values: npt.NDArray[Any], like: Array | None = None) -> Array:
        """Return an array as a tensor of the framework, on the device of `like`."""
        return values

    def _beside(self, values: npt.NDArray[Any], x: Array) -> Array:
        """Return constants as a tensor on the device of images, to which they are brought once.

        :param values: a small array.
        :param x: the images.
        """
        where = str(getattr(x, "device", None)) if not isinstance(x, np.ndarray) else None
        key = (values.dtype.str, values.shape, values.tobytes(), where)
        return self._constants.get(key, lambda: self._tensor(values, like=x))

    def _in_float64(self, x: Array, function: Callable[[Array], Array]) -> Array:
        """Return what a function gives for images in float64, in float32.

        The device that has no float64 leaves it to the host.

        :param x: images in float32.
        :param function: from such images in float64 to images in float64.
        """
        xp = namespace(x)
        return xp.astype(function(xp.astype(x, xp.float64)), xp.float32)

    def _constant(self, x: Array) -> Array:
        """Return a copy of a tensor, through which no gradient flows."""
        return np.array(x)

    def _numpy(self, x: Array) -> npt.NDArray[Any]:
        return np.asarray(x)

    def _is_floating(self, x: Array) -> bool:
        return bool(np.issubdtype(x.dtype, np.floating))
