"""Named defences of pictures in any range, ready to use in either framework or in NumPy."""

from typing import Any

import numpy as np
from art.estimators.classification import BlackBoxClassifier
from sklearn.datasets import load_sample_images

from art_nip import defences
from art_nip.utils.seeds import seeded
from tests.helpers import FRAMEWORKS, make_classifier

QUICK = {
    "sr": {"features": 4, "blocks": 1, "steps": 3, "seed": 0},
    "stl": {"n_crops": 16, "iterations": 10, "seed": 0},
    "tvm": {"seed": 0},
    "tvm-art": {"max_iter": 5},
    "importance-masking": {"keep": 0.5},
    "nip": {"retrieval": "nearest"},
}
SIDE, CLASSES = 32, 4
LOOK_INSIDE = ("anti-adversary", "importance-masking", "nip")


ENDINGS = tuple(
    {"numpy": "", "pytorch": "PyTorch", "tensorflow": "TensorFlowV2"}[name]
    for name in ("numpy", *FRAMEWORKS)
)
"""How the names of a defence's classes end: for NumPy, and for what is installed."""


def crops(n: int, seed: int = 0) -> np.ndarray:
    """Squares of two photographs of 8 bits, channels last, in [0, 1]."""
    rng, photographs = np.random.default_rng(seed), load_sample_images().images
    corners = rng.integers(0, 390, (n, 2))
    cut = [photographs[k % 2][i : i + SIDE, j : j + SIDE] for k, (i, j) in enumerate(corners)]
    return np.stack(cut).astype(np.float32) / np.float32(255)


def oriented(x: np.ndarray, framework: str) -> np.ndarray:
    """Images of channels last in the axis order of a framework; NumPy has channels last."""
    return np.ascontiguousarray(np.moveaxis(x, -1, 1)) if framework == "pytorch" else x


def keras_classifier(model: Any) -> Any:
    """ART's KerasClassifier of a model of logits, for images in [0, 1]."""
    import keras
    from art.estimators.classification import KerasClassifier

    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(loss=loss)
    return KerasClassifier(model, clip_values=(0, 1), use_logits=True)


class Pictures:
    """One classifier, and pictures as it takes them in a range.

    :param framework: "numpy" stands for a black box, which has no framework.
    :param low: of the range, a number or one for each channel.
    :param high: likewise.
    """

    def __init__(self, framework: str, models: dict[str, Any], low: Any, high: Any) -> None:
        self.framework = framework
        if np.ndim(low):
            shape = (3, 1, 1) if framework == "pytorch" else (1, 1, 3)
            low, high = (np.float32(bound).reshape(shape) for bound in (low, high))
        self.low, self.span = low, np.float32(high) - np.float32(low)
        if framework == "numpy":
            self.classifier: Any = BlackBoxClassifier(
                lambda x: np.eye(CLASSES)[np.zeros(len(x), int)],
                (SIDE, SIDE, 3),
                CLASSES,
                clip_values=(low, high),
            )
            return
        self.classifier = make_classifier(
            framework,
            models[framework],
            (3, SIDE, SIDE) if framework == "pytorch" else (SIDE, SIDE, 3),
            CLASSES,
            clip_values=(low, high),
            preprocessing=(self.low, self.span),
        )

    def of(self, unit: np.ndarray) -> np.ndarray:
        """Pictures of [0, 1], channels last, as the classifier takes them."""
        return (oriented(unit, self.framework) * self.span + self.low).astype(np.float32)

    def unit(self, x: np.ndarray) -> np.ndarray:
        """The opposite."""
        unit = (np.asarray(x, np.float64) - self.low) / self.span
        return np.moveaxis(unit, 1, -1) if self.framework == "pytorch" else unit

    def named(self, name: str, bank: np.ndarray, **parameters: Any) -> Any:
        """A named defence, fitted on pictures of [0, 1] if it learns."""
        named = defences.get(name)
        defence = named.create(self.classifier, **{**QUICK.get(name, {}), **parameters})
        if named.learns:
            x = self.of(bank)
            asks = name in LOOK_INSIDE
            y = self.classifier.predict(x).argmax(axis=1) if asks else np.zeros(len(x), int)
            with seeded(0):
                defence.fit(x, y)
        return defence

    def defended(self, name: str, bank: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """Pictures of [0, 1] after a named defence; of a transformer, its classifier's scores."""
        defence = self.named(name, bank)
        with seeded(1):
            if hasattr(defence, "get_classifier"):
                return np.asarray(defence.get_classifier().predict(self.of(unit)))
            return self.unit(defence(self.of(unit))[0])
