"""The paper's models (Table I), untrained, in PyTorch and Keras, and their weights in either.

Importing this package imports neither framework; `create` imports the one it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from art_nip.utils.frameworks import Framework, code_of, model_framework
from art_nip.utils.validation import check_choice, check_whole
from art_nip.zoo.architectures import ARCHITECTURES, Architecture
from art_nip.zoo.trained_defences import TRAINED_DEFENCES

if TYPE_CHECKING:
    from art_nip.zoo import origins as origins

__all__ = ["NAMES", "TRAINED_DEFENCES", "copy_weights", "create", "get_weights", "set_weights"]

NAMES = tuple(ARCHITECTURES)
FRAMEWORKS = (Framework.PYTORCH.value, Framework.TENSORFLOW.value)


def __getattr__(name: str) -> Any:
    if name == "origins":  # which imports ART
        return import_module("art_nip.zoo.origins")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def create(
    name: str,
    *,
    framework: str = "pytorch",
    input_shape: tuple[int, ...],
    nb_classes: int,
    defence: str | None = None,
) -> Any:
    """Make an untrained model of the paper's Table I that maps images to logits.

    Its modules (PyTorch) or layers (Keras) are called `features.0`, `features.1`, …, `flatten`,
    `classifier.0`, … in both frameworks, and neuron j of `flatten` and of each dense layer is the
    same neuron in both.

    :param name: one of `NAMES`; `art_nip.zoo.architectures` describes each model.
    :param framework: "pytorch" or "tensorflow".
    :param input_shape: shape of one image as in ART's estimators: (C, H, W) for PyTorch, (H, W, C)
        for TensorFlow.
    :param nb_classes: number of logits, at least 2.
    :param defence: one of `TRAINED_DEFENCES`, which says what it does to the model; None leaves the
        model as it is.
    :return: a model of float32 images (N, *input_shape), in whatever range it will be trained on,
        that returns logits (N, nb_classes).
    :raises ValueError: if a name, the framework, the shape or the number of classes is not allowed,
        or if the images are too small for the model.
    :raises RuntimeError: if `framework` is "tensorflow" and Keras runs on another backend.
    """
    check_choice("framework", framework, FRAMEWORKS)
    order = "(C, H, W)" if framework == "pytorch" else "(H, W, C)"
    sides = tuple(input_shape) if isinstance(input_shape, (tuple, list)) else ()
    if len(sides) != 3 or not all(isinstance(n, (int, np.integer)) and n > 0 for n in sides):
        raise ValueError(
            f"input_shape {input_shape!r} is not a shape of {framework} images: "
            f"give three positive numbers, {order}."
        )
    architecture = architecture_of(name, nb_classes, defence)
    height, width = input_shape[1:] if framework == "pytorch" else input_shape[:2]
    smallest = architecture.smallest_image
    if min(height, width) < smallest:
        raise ValueError(
            f"Images of {height}×{width} pixels are too small for {name!r}, which needs at least "
            f"{smallest}×{smallest}: enlarge them or choose another model. The input_shape "
            f"{input_shape} was read as {order}."
        )
    return code_of(__name__, framework).build(architecture, tuple(map(int, sides)))


def architecture_of(name: str, nb_classes: int, defence: str | None = None) -> Architecture:
    """Return the architecture of a model; parameters as in :func:`create`.

    :raises ValueError: if a name or the number of classes is not allowed.
    """
    check_choice("model", name, NAMES)
    check_whole("nb_classes", nb_classes, 2)
    if defence is None:
        return ARCHITECTURES[name](nb_classes)
    check_choice("trained defence", defence, tuple(TRAINED_DEFENCES))
    return TRAINED_DEFENCES[defence](ARCHITECTURES[name](nb_classes), nb_classes)


def get_weights(model: Any) -> dict[str, NDArray[Any]]:
    """Return the weights of a zoo model in one form for both frameworks.

    :param model: a model from `create`.
    :return: copies of the weights and BatchNorm statistics, by the names and in the layouts of
        PyTorch's state dict.
    :raises TypeError: if the model is of neither framework.
    """
    weights: dict[str, NDArray[Any]] = _code_for(model).read(model)
    return weights


def set_weights(model: Any, weights: Mapping[str, NDArray[Any]]) -> None:
    """Set the weights of a zoo model; they may come from either framework.

    :param model: a model from `create`.
    :param weights: arrays by name as `get_weights` returns them, or as read from a safetensors file
        of a PyTorch model. Any float type; the model keeps its own.
    :raises ValueError: if the weights are of another architecture, input shape or number of
        classes; the model is then unchanged.
    :raises TypeError: if the model is of neither framework.
    """
    theirs = {name: array.shape for name, array in weights.items()}
    ours = {name: array.shape for name, array in get_weights(model).items()}
    differing = [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]
    if differing:
        name = differing[0]
        raise ValueError(
            f"The weights do not fit the model: {len(differing)} differ, the first being {name!r}, "
            f"which has the shape {theirs.get(name, '(absent)')} in the weights and "
            f"{ours.get(name, '(absent)')} in the model. Both must be of the same name, "
            "input_shape and nb_classes."
        )
    _code_for(model).write(model, weights)


def copy_weights(source: Any, target: Any) -> None:
    """Copy all weights and BatchNorm statistics between zoo models, also across frameworks.

    :param source: a model from `create`, left as it is.
    :param target: a model from `create` of the same name, input shape and number of classes.
    :raises ValueError: if the two differ in architecture; the target is then unchanged.
    :raises TypeError: if a model is of neither framework.
    """
    set_weights(target, get_weights(source))


def _code_for(model: object) -> Any:
    return code_of(__name__, model_framework(model))
