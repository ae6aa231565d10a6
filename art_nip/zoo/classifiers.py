"""Zoo models as ART classifiers, and the files of trained models.

A file is one safetensors file with PyTorch's names and layouts, for either framework; its JSON
metadata say how to use the model.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip import zoo
from art_nip.utils.files import reading, tensors, write_arrays
from art_nip.utils.frameworks import code_of
from art_nip.utils.validation import check_choice, check_number, check_whole, is_number
from art_nip.zoo.architectures import count_weights, output_shape

FORMAT = "art-nip weights"

LARGEST_SIDE = 65_535
"""Longest side of an image in pixels; no JPEG has a longer one."""


@dataclass(frozen=True)
class TrainedModel:
    """The model in a file of weights.

    :param name: name of the model, one of `zoo.NAMES`.
    :param image_shape: (C, H, W).
    :param nb_classes: number of classes.
    :param mean: it is subtracted from images in [0, 1] before the model sees them.
    :param std: the images are divided by it afterwards.
    :param note: how the model was trained, and its accuracy, for readers.
    :param defence: the defence that changed the model, one of `zoo.TRAINED_DEFENCES`, or None.
    """

    name: str
    image_shape: tuple[int, int, int]
    nb_classes: int
    mean: float
    std: float
    note: str = ""
    defence: str | None = None

    def __post_init__(self) -> None:
        check_choice("model", self.name, zoo.NAMES)
        if len(self.image_shape) != 3:
            raise ValueError(f"image_shape={self.image_shape!r}; give three sizes, (C, H, W).")
        for size in self.image_shape:
            check_whole("image_shape", size, 1, LARGEST_SIDE)
        check_whole("nb_classes", self.nb_classes, 2)
        check_number("mean", self.mean, -math.inf)
        if not (is_number(self.std) and self.std > 0):
            raise ValueError(f"std={self.std!r}; give a number above 0, to divide images by.")
        if self.defence is not None:
            check_choice("trained defence", self.defence, tuple(zoo.TRAINED_DEFENCES))

    def input_shape(self, framework: str) -> tuple[int, int, int]:
        """Return the shape of one image in a framework."""
        channels, height, width = self.image_shape
        return (channels, height, width) if framework == "pytorch" else (height, width, channels)

    def check_count(self, values: int) -> None:
        """Raise a ValueError if there are fewer weights than the model has.

        Otherwise the model of a damaged file could take all memory before the damage shows.

        :param values: how many numbers the weights have.
        """
        architecture = zoo.architecture_of(self.name, self.nb_classes, self.defence)
        flat = math.prod(output_shape(architecture.features, self.image_shape))
        needed = count_weights(architecture.features, self.image_shape)
        needed += count_weights(architecture.classifier, (flat,))
        if needed > values:
            raise ValueError(
                f"the model that it says it is of has at least {needed:,} weights, and it holds "
                f"{values:,}."
            )

    def create(self, framework: str) -> Any:
        """Return the model, untrained."""
        shape = self.input_shape(framework)
        return zoo.create(
            self.name,
            framework=framework,
            input_shape=shape,
            nb_classes=self.nb_classes,
            defence=self.defence,
        )


def file_name(data: str, model: str, defence: str | None, adversarial: bool) -> str:
    """Return the name that `art-nip train` gives to the file of weights."""
    parts = (data, model, defence, "adversarial" if adversarial else None)
    return "-".join(filter(None, parts)) + ".safetensors"


def as_classifier(
    model: Any,
    framework: str,
    input_shape: tuple[int, ...],
    nb_classes: int,
    **keywords: Any,
) -> Any:
    """Return an ART classifier of a model of logits, for images in [0, 1].

    :param model: a `torch.nn.Module` (the classifier moves it to a GPU if there is one) or a
        `keras.Model`.
    :param framework: "pytorch" or "tensorflow".
    :param input_shape: shape of one image.
    :param nb_classes: number of logits.
    :param keywords: keywords of ART's class; `clip_values` are (0, 1) if not given.
    """
    keywords = {"clip_values": (0, 1), **keywords}
    return code_of("art_nip.zoo", framework).classifier(model, input_shape, nb_classes, **keywords)


def save(path: str | Path, model: Any, trained: TrainedModel) -> None:
    """Write a model's weights, whole or not at all.

    :param path: the file.
    :param model: a model from `zoo.create`.
    :param trained: description of the model.
    """
    header = {"format": FORMAT, "trained": json.dumps(asdict(trained))}
    write_arrays(Path(path), zoo.get_weights(model), header)


def load(path: str | Path, framework: str) -> Any:
    """Return the ART classifier of a file of weights, in either framework.

    :param path: a file that `save` wrote.
    :param framework: "pytorch" or "tensorflow".
    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if it is truncated or of another kind.
    """
    trained, weights = read(path)
    try:
        trained.check_count(sum(weight.size for weight in weights.values()))
        model = trained.create(framework)
        zoo.set_weights(model, weights)
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if framework == "pytorch":
        model.eval()
    return as_classifier(
        model,
        framework,
        trained.input_shape(framework),
        trained.nb_classes,
        preprocessing=(trained.mean, trained.std),
    )


def read(path: str | Path) -> tuple[TrainedModel, dict[str, npt.NDArray[Any]]]:
    """Return the description of the model in a file, and the weights by name.

    :param path: a file that `save` wrote.
    :raises FileNotFoundError: if there is no such file.
    :raises ValueError: if it is truncated or of another kind.
    """
    path, advice = Path(path), "Train or copy it again."
    with reading(path, advice) as file:
        header = file.metadata() or {}
        if header.get("format") != FORMAT:
            raise ValueError(f"{path} is a safetensors file, but not one of `art-nip train`.")
        weights = tensors(file)
    for name, weight in weights.items():
        if not np.isfinite(weight).all():
            raise ValueError(f"{path} is damaged: {name} holds NaN or infinite values. {advice}")
    return _trained(header.get("trained", ""), path, advice), weights


def _trained(header: str, path: Path, advice: str) -> TrainedModel:
    try:
        entries = json.loads(header)
        # A file from before a field was added has the field's default.
        names = {field.name for field in fields(TrainedModel)}
        known = {name: entry for name, entry in entries.items() if name in names}
        return TrainedModel(**{**known, "image_shape": tuple(entries["image_shape"])})
    # The metadata are not JSON, have another form, or hold values that no model has.
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"{path} does not say what it is of ({error!r}). {advice}") from error
