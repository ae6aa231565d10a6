"""Defences that learn from benign images, and how what they learned is saved and loaded."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import NotFittedError

from art_nip.defences.base import ImageDefence
from art_nip.utils.files import reading, tensors, write_arrays
from art_nip.utils.validation import check_images, numeric

if TYPE_CHECKING:
    from typing_extensions import Self

Arrays = Mapping[str, npt.NDArray[Any]]
"""Arrays by name, as a safetensors file has them."""


class LearnedDefence(ImageDefence):
    """A defence that learns: `fit` it on benign images, or `load` one that was fitted and saved.

    A file holds what was learned and all parameters, and serves NumPy, PyTorch and TensorFlow.
    """

    file_format: ClassVar[str]
    """The mark of files of this defence."""

    of_the_fit: ClassVar[tuple[str, ...]]
    """Parameters that decide what is learned; if one changes, what was learned is dropped."""

    @property
    def is_fitted(self) -> bool:
        """Whether anything was learned that can be used."""
        return bool(self._is_fitted)

    def save(self, path: str | Path) -> None:
        """Save what was learned, and all parameters, to one safetensors file, whole or not at all.

        :param path: the file; an existing one is replaced.
        :raises NotFittedError: if nothing was fitted.
        """
        arrays, facts = self._learned_arrays()
        header = {
            "format": self.file_format,
            # ART's classifiers keep their clip_values as an array.
            "parameters": json.dumps(self._saved_parameters(), default=_as_json),
            "facts": json.dumps(facts),
        }
        write_arrays(Path(path), arrays, header)

    @classmethod
    def load(cls, path: str | Path, **settings: Any) -> Self:
        """Return the defence that was saved, for NumPy, PyTorch or TensorFlow.

        :param path: a file written by `save`, with any of the three.
        :param settings: parameters that take the place of those saved, such as `batch_size`, or
            `device_type` of the PyTorch class; not those that decide what is learned.
        :raises FileNotFoundError: if there is no such file.
        :raises ValueError: if it is truncated, or not such a file, or a setting is not allowed.
        """
        for name in settings:
            if name in cls.of_the_fit:
                raise ValueError(
                    f"{name}={settings[name]!r} decides what is learned, and {path} holds what was "
                    "learned already: leave it out, or fit anew."
                )
        saved = read_learned(path, cls)
        with refusing(path, cls):
            defence = cls(**saved.parameters)
            defence._adopt_arrays(saved.arrays, saved.facts)
        if settings:
            defence = cls(**{**saved.parameters, **settings})
            defence._adopt_arrays(saved.arrays, saved.facts)
        return defence

    def _saved_parameters(self) -> dict[str, Any]:
        names = (*self.params, "apply_fit", "apply_predict")
        return {name: getattr(self, name) for name in names}

    @abstractmethod
    def _learned_arrays(self) -> tuple[Arrays, Any]:
        """Return what was learned, and facts about it that JSON can hold."""

    @abstractmethod
    def _adopt_arrays(self, arrays: Arrays, facts: Any) -> None:
        """Take over what `_learned_arrays` returned; raise a ValueError for anything else."""

    @abstractmethod
    def _forget(self) -> None:
        """Drop what was learned."""

    def set_params(self, **kwargs: Any) -> None:
        """Change parameters; all of them, or none if one is not allowed.

        What was learned is dropped when a parameter changes that decides what is learned.

        :param kwargs: see the class.
        :raises ValueError: if a name or a value is not allowed.
        """
        before = [getattr(self, name) for name in self.of_the_fit]
        super().set_params(**kwargs)
        if before != [getattr(self, name) for name in self.of_the_fit]:
            self._forget()

    def _to_learn_from(self, x: npt.ArrayLike, beside: Mapping[str, Any]) -> Any:
        """Return images in [0, 1], float32, shape (N, C, H, W), after checking them.

        :param x: the images that `fit` was given.
        :param beside: other keywords that `fit` was given; none are allowed.
        """
        if beside:
            raise TypeError(f"fit takes x and y only; it was given {', '.join(beside)} too.")
        images = numeric(x)
        ImageDefence._check_images(self, images)
        check_images(images, images.shape[1:], self.clip_values)
        return self._units(images)

    def _not_fitted(self, what: str) -> NotFittedError:
        return NotFittedError(
            f"This {type(self).__name__} has no {what} yet: call fit(x_benign), or load a saved "
            "one."
        )


class Saved(NamedTuple):
    """What a file of a learned defence holds."""

    arrays: Arrays
    parameters: dict[str, Any]
    facts: Any


def read_learned(path: str | Path, kind: type[LearnedDefence]) -> Saved:
    """Return what `save` of a kind of defence wrote to a file.

    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if it is truncated, or of another kind.
    """
    with reading(Path(path), _advice(kind)) as file, refusing(path, kind):
        header = file.metadata() or {}
        if header.get("format") != kind.file_format:
            raise ValueError("it is not marked as one")
        arrays = tensors(file)
        for name, array in arrays.items():
            if array.dtype != np.float32 or not np.isfinite(array).all():
                raise ValueError(f"its array {name!r} is not of finite float32 numbers")
        parameters, facts = (json.loads(header[part]) for part in ("parameters", "facts"))
        return Saved(arrays, dict(parameters), facts)


@contextmanager
def refusing(path: str | Path, kind: type[LearnedDefence]) -> Iterator[None]:
    """Turn whatever is wrong with the content of a file into one sentence about the file."""
    try:
        yield
    # A file that parameters name may be missing too.
    except (AttributeError, FileNotFoundError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is a safetensors file, but not one of {kind.__name__}: "
            f"{str(error).rstrip('.')}. "
            f"{_advice(kind)}"
        ) from error


def _advice(kind: type[LearnedDefence]) -> str:
    return f"Give a file that {kind.__name__}.save wrote."


def _as_json(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else np.asarray(value).tolist()
