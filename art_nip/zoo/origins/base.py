"""A model by where it comes from, as an ART classifier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from art_nip.estimators.probing import N_PROBES, are_probabilities, probe_images
from art_nip.utils.frameworks import Framework, code_of, model_framework
from art_nip.utils.optional import require
from art_nip.utils.seeds import seeded
from art_nip.utils.validation import check_whole
from art_nip.zoo.classifiers import as_classifier
from art_nip.zoo.origins.given import (
    check_arguments,
    checked_classes,
    checked_numbers,
    checked_range,
    checked_shape,
)

DEFAULT = "default"
"""Stands for the weights that a library itself takes."""

SEED = 0
"""Random weights are drawn with it, so that they are the same ones each time."""


class NoLogitsError(ValueError):
    """A model gives something else than one tensor."""


@dataclass(frozen=True)
class Made:
    """A model, and what its library says of it.

    :param model: a `torch.nn.Module` in evaluation mode or a `keras.Model`, of logits.
    :param input_shape: shape of one image; None if the library does not say.
    :param mean: of the channels of images in [0, 1], which is subtracted before the model sees
        them; None if the library does not say.
    :param std: the images are divided by it afterwards; None likewise.
    """

    model: Any
    input_shape: tuple[int, ...] | None = None
    mean: npt.ArrayLike | None = None
    std: npt.ArrayLike | None = None


@dataclass(frozen=True)
class Origin(ABC):
    """Where a model comes from, and how it is used. What is given here wins over the library's.

    :param name: what the library calls the model.
    :param classes: the classes to keep, in this order; None keeps all. Logits of the others are
        left out, so class i is `classes[i]` of the model's own.
    :param input_shape: shape of one image: (C, H, W) for PyTorch, (H, W, C) for Keras.
    :param mean: it is subtracted from the images before the model sees them: a number, or one for
        each channel, in the scale of `clip_values`.
    :param std: the images are divided by it afterwards; likewise.
    :param clip_values: the range of the images.
    :raises TypeError: if something is of another type.
    :raises ValueError: if it is not allowed.
    """

    name: str
    _: KW_ONLY
    classes: tuple[int, ...] | None = None
    input_shape: tuple[int, ...] | None = None
    mean: Any = None
    std: Any = None
    clip_values: tuple[float, float] = (0.0, 1.0)

    key: ClassVar[str]
    """What origins of this kind are called in spec files."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise TypeError(f"{self.key}: {self.name!r}; give the name of a model as text.")
        if self.classes is not None:
            self._set("classes", checked_classes(self.classes))
        if self.input_shape is not None:
            self._set("input_shape", checked_shape(self.input_shape))
        self._set("clip_values", checked_range(self.clip_values))
        if (self.mean is None) != (self.std is None):
            raise ValueError("Give mean and std together, or neither.")
        if self.mean is not None:
            for what in ("mean", "std"):
                self._set(what, checked_numbers(what, getattr(self, what)))
            if min(np.atleast_1d(self.std)) <= 0:
                raise ValueError(f"std={self.std!r}; give numbers above 0, to divide images by.")

    def classifier(self) -> Any:
        """Return the model as an ART classifier; all that its library knows of it is checked here.

        :raises ImportError: if the library is not installed.
        :raises OSError: if a file is missing, or weights cannot be fetched.
        :raises ValueError: if there is no such model, or it cannot be used as it is asked for.
        """
        made = self._made()
        framework = model_framework(made.model)
        code = code_of(__package__, framework)
        shape = self.input_shape or made.input_shape
        if shape is None:
            raise ValueError(f"{self} does not say which images it takes: give input_shape too.")
        n_outputs = self._check_outputs(code, made.model, shape)
        model = made.model
        if self.classes is not None:
            if max(self.classes) >= n_outputs:
                raise ValueError(
                    f"classes has {max(self.classes)}, and {self} tells {n_outputs} classes apart: "
                    f"give numbers from 0 to {n_outputs - 1}."
                )
            model = code.selected(model, shape, self.classes)
        return as_classifier(
            model,
            str(framework),
            shape,
            len(self.classes or range(n_outputs)),
            clip_values=self.clip_values,
            preprocessing=self._preprocessing(made, shape, framework),
        )

    def __str__(self) -> str:
        return f"{self.key}: {self.name}"

    @abstractmethod
    def _made(self) -> Made:
        """Return the model, and what its library says of it."""

    def _set(self, field_name: str, value: Any) -> None:
        object.__setattr__(self, field_name, value)

    def _check_outputs(self, code: Any, model: Any, shape: tuple[int, ...]) -> int:
        """Return how many logits the model gives, if it gives logits."""
        try:
            outputs = code.outputs(model, probe_images(shape, (0, 1)))
        except NoLogitsError as error:
            raise ValueError(
                f"{self} gives {error}, and not one tensor of logits: wrap it in one that does."
            ) from error
        except Exception as error:  # whatever the model's layers raise
            raise ValueError(
                f"{self} does not run on images of shape {shape}: {_first_lines(error)} Give the "
                "input_shape that it was made for."
            ) from error
        if outputs.ndim != 2 or len(outputs) != N_PROBES or outputs.shape[1] < 2:
            raise ValueError(
                f"{self} gives outputs of shape {outputs.shape} for {N_PROBES} images, and a "
                f"classifier gives ({N_PROBES}, number of classes), 2 or more."
            )
        if not np.isfinite(outputs).any():
            raise ValueError(f"{self} gives NaN or infinite values: check its weights.")
        if are_probabilities(outputs):
            raise ValueError(
                f"{self} gives probabilities, and logits are needed: leave out its last softmax."
            )
        return int(outputs.shape[1])

    def _preprocessing(
        self, made: Made, shape: tuple[int, ...], framework: Framework
    ) -> tuple[Any, Any]:
        """Return mean and std in the scale of `clip_values`, as ART takes them."""
        low, high = self.clip_values
        if self.mean is not None:
            mean, std = self.mean, self.std
        elif made.mean is not None and made.std is not None:
            mean = low + np.asarray(made.mean, np.float64) * (high - low)
            std = np.asarray(made.std, np.float64) * (high - low)
        else:
            raise ValueError(
                f"{self} does not say how its images are standardised: give mean and std, or "
                "mean: 0, std: 1 if the model takes them as they are."
            )
        first = framework is Framework.PYTORCH
        channels = shape[0] if first else shape[-1]
        moments = []
        for what, value in (("mean", mean), ("std", std)):
            array = np.asarray(value, np.float32)
            if array.size not in (1, channels):
                raise ValueError(
                    f"{what} has {array.size} values, and images of shape {shape} have {channels} "
                    "channels: give one for each channel, or a single number."
                )
            filled = np.broadcast_to(array, channels).copy()
            moments.append(filled.reshape(-1, 1, 1) if first else filled)
        return moments[0], moments[1]


@dataclass(frozen=True)
class FromLibrary(Origin):
    """A model that a library makes by its name.

    :param weights: "default" for those that the library itself takes, a file, or None for random
        ones, which are the same each time.
    :param nb_classes: how many classes the model tells apart, where it is made anew: with random
        weights, or with a file of them. None takes the library's number.
    :param arguments: other arguments of the library's own function, by their names.
    """

    _: KW_ONLY
    weights: str | None = DEFAULT
    nb_classes: int | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.weights, Path):
            self._set("weights", str(self.weights))
        if self.weights is not None and not (isinstance(self.weights, str) and self.weights):
            raise TypeError(
                f"weights={self.weights!r}; give {DEFAULT!r}, a file, or null (None) for random "
                "weights."
            )
        if self.nb_classes is not None:
            check_whole("nb_classes", self.nb_classes, 2)
            if self.weights == DEFAULT:
                raise ValueError(
                    "nb_classes is for a model with weights of a file or random ones; the "
                    "library's own have as many classes as they have. To keep some: classes."
                )
        check_arguments(self.arguments)

    def _file(self, others: Iterable[str] = ()) -> str:
        """Return the path of the file of weights.

        :param others: what weights could be beside a file, for the error.
        :raises FileNotFoundError: if there is none.
        """
        path = str(self.weights)
        if not Path(path).is_file():
            names = ", ".join((DEFAULT, *others))
            raise FileNotFoundError(
                f"weights: there is no file {path!r}, and no weights of {self} are called so. "
                f"Allowed: a file, {names}, or null for random ones."
            )
        return path


def library(module: str, package: str | None = None) -> Any:
    """Import a library that models come from.

    :param module: what is imported.
    :param package: what pip calls it; None: the same.
    :raises ImportError: with a sentence that says what to install.
    """
    name = package or module
    return require(module, to=f"make models of {module.partition('.')[0]}", install=name)


@contextmanager
def made_by(origin: Origin, *, random: bool = False) -> Iterator[None]:
    """Say of which model an error is that a library raises, and draw random weights alike.

    :param origin: the model.
    :param random: whether its weights are random.
    """
    try:
        if not random:
            yield
            return
        with seeded(SEED):
            yield
    except ImportError:
        raise
    except OSError as error:
        raise OSError(
            f"{origin}: {_first_lines(error)} If its weights could not be fetched, give a local "
            "file, or null for random ones."
        ) from error
    except Exception as error:  # libraries raise errors of any kind
        raise ValueError(f"{origin} cannot be made: {_first_lines(error)}") from error


def _first_lines(error: Exception, most: int = 400) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    text = text if len(text) <= most else f"{text[:most]}…"
    return text if text.endswith((".", "…", "!", "?")) else f"{text}."
