"""What tests of every room make: ART classifiers of a framework, and images in its axis order."""

from typing import Any

import numpy as np

from art_nip.zoo.classifiers import as_classifier

FRAMEWORKS = ("pytorch", "tensorflow")


def to_framework(x: np.ndarray, framework: str) -> np.ndarray:
    """Return images in the axis order of a framework."""
    return x if framework == "pytorch" else np.ascontiguousarray(np.moveaxis(x, 1, -1))


def make_classifier(
    framework: str,
    model: Any,
    input_shape: tuple[int, ...] | None = None,
    nb_classes: int = 10,
    **keywords: Any,
) -> Any:
    """Return a PyTorchClassifier or TensorFlowV2Classifier of a model of logits."""
    shape = input_shape or ((1, 28, 28) if framework == "pytorch" else (28, 28, 1))
    return as_classifier(model, framework, shape, nb_classes, **keywords)
