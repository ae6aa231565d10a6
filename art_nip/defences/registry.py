"""The defences of the benchmark by name, with the paper's parameters (section IV-A).

`none`, the classifier as it is, is in every benchmark and needs no naming.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences.preprocessor import (
    FeatureSqueezing,
    JpegCompression,
    SpatialSmoothing,
    TotalVarMin,
)

from art_nip.defences.anti_adversary import (
    AntiAdversary,
)
from art_nip.defences.feature_distillation import (
    FeatureDistillation,
    FeatureDistillationPyTorch,
    FeatureDistillationTensorFlowV2,
)
from art_nip.defences.importance_masking import importance_masked
from art_nip.defences.sparse_transformation import (
    SparseTransformation,
    SparseTransformationPyTorch,
    SparseTransformationTensorFlowV2,
)
from art_nip.defences.super_resolution import (
    SuperResolution,
    SuperResolutionPyTorch,
    SuperResolutionTensorFlowV2,
)
from art_nip.defences.total_variance import (
    TotalVarianceMinimization,
    TotalVarianceMinimizationPyTorch,
    TotalVarianceMinimizationTensorFlowV2,
)
from art_nip.nip.preprocessor import NIPPreprocessor
from art_nip.utils.validation import check_choice


class _TotalVarMin(TotalVarMin):  # type: ignore[misc]
    """ART's, which takes axis 2 for the channels, for images of either order."""

    def __init__(self, channels_first: bool, clip_values: Any, **parameters: Any) -> None:
        super().__init__(clip_values=clip_values, **parameters)
        self.channels_first = channels_first

    def __call__(self, x: npt.NDArray[Any], y: Any = None) -> tuple[npt.NDArray[Any], Any]:
        if not self.channels_first:
            return super().__call__(x, y)  # type: ignore[no-any-return]
        images, y = super().__call__(np.ascontiguousarray(np.moveaxis(x, 1, -1)), y)
        return np.moveaxis(images, -1, 1), y


class _ImportanceMasking:
    """Importance masking as the others are: made for a classifier, then fitted on images."""

    params = ("layer", "keep", "sharpness", "batch_size")

    def __init__(self, classifier: Any, parameters: Mapping[str, Any]) -> None:
        self._classifier, self._parameters = classifier, dict(parameters)

    @classmethod
    def for_estimator(cls, classifier: Any, **parameters: Any) -> _ImportanceMasking:
        return cls(classifier, parameters)

    def fit(self, x: npt.NDArray[Any], y: npt.NDArray[Any]) -> Any:
        """Return the classifier that takes the place of the one to be defended."""
        return importance_masked(self._classifier, x, y, **self._parameters)


@dataclass(frozen=True)
class NamedDefence:
    """A defence that has a name.

    :param name: in tables, spec files and Python.
    :param classes: for NumPy, PyTorch and TensorFlow, or one for all.
    :param defaults: parameters that differ from those of the class.
    """

    name: str
    classes: tuple[Any, ...]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def create(self, classifier: Any, **parameters: Any) -> Any:
        """Return the defence, not fitted: an ART preprocessor, or what `fit` makes a classifier of.

        :param classifier: the ART classifier that it is to defend.
        :param parameters: of the class; those given replace `defaults`.
        :raises ValueError: if a parameter is not known or not allowed.
        """
        self.check_parameters(parameters)
        chosen = {**self.defaults, **parameters}
        kind = self.classes[_framework(classifier) if len(self.classes) > 1 else 0]
        told = {
            "channels_first": channels_first(classifier),
            "clip_values": classifier.clip_values,
        }
        known = inspect.signature(kind).parameters
        return kind(**{name: told[name] for name in told if name in known}, **chosen)

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Raise a ValueError that names the nearest if a parameter is not known."""
        for name in parameters:
            check_choice(f"parameter of the defence {self.name!r}", name, self._known())

    def _known(self) -> list[str]:
        # The others follow the classifier, or say what to do outside a benchmark.
        followed = ("channels_first", "clip_values", "verbose")
        return [name for name in self.classes[0].params if name not in followed]


class _LooksInside(NamedDefence):
    """A defence that looks into the classifier, and asks it itself what it is to follow."""

    def create(self, classifier: Any, **parameters: Any) -> Any:
        self.check_parameters(parameters)
        kind = self.classes[0]
        quiet = {"verbose": False} if "verbose" in kind.params else {}
        return kind.for_estimator(classifier, **{**quiet, **self.defaults, **parameters})

    def _known(self) -> list[str]:
        return list(self.classes[0].params)


DEFENCES = {
    named.name: named
    for named in (
        NamedDefence("ss", (SpatialSmoothing,), {"window_size": 2}),
        # The paper does not say; Xu et al. 2018 take 5 for colour images. ART's 8 does nothing.
        NamedDefence("cbdr", (FeatureSqueezing,), {"bit_depth": 5}),
        NamedDefence("jpeg", (JpegCompression,), {"quality": 80}),
        NamedDefence(
            "tvm",
            (
                TotalVarianceMinimization,
                TotalVarianceMinimizationPyTorch,
                TotalVarianceMinimizationTensorFlowV2,
            ),
            {"prob": 0.5, "lamb": 0.1},
        ),
        NamedDefence("tvm-art", (_TotalVarMin,), {"prob": 0.5, "lamb": 0.1}),
        NamedDefence(
            "fdistill",
            (
                FeatureDistillation,
                FeatureDistillationPyTorch,
                FeatureDistillationTensorFlowV2,
            ),
        ),
        NamedDefence(
            "sr",
            (SuperResolution, SuperResolutionPyTorch, SuperResolutionTensorFlowV2),
            {"verbose": False},
        ),
        NamedDefence(
            "stl",
            (
                SparseTransformation,
                SparseTransformationPyTorch,
                SparseTransformationTensorFlowV2,
            ),
            # The paper does not say; these are of the authors' example for images of 32×32.
            {"lmbda": 0.2, "n_filters": 64, "filter_size": 8, "verbose": False},
        ),
        _LooksInside("anti-adversary", (AntiAdversary,)),
        _LooksInside("importance-masking", (_ImportanceMasking,)),
        _LooksInside("nip", (NIPPreprocessor,)),
    )
}
NAMES = tuple(DEFENCES)


def channels_first(classifier: Any) -> bool:
    """Return whether a classifier takes images of (C, H, W); black boxes do not say."""
    shape = classifier.input_shape
    return bool(getattr(classifier, "channels_first", shape[0] < shape[-1]))


def get(name: str) -> NamedDefence:
    """Return the defence of a name.

    :raises ValueError: if there is none; the message names the nearest.
    """
    check_choice("defence", name, NAMES)
    return DEFENCES[name]


def _framework(classifier: Any) -> int:
    """Return the place of a classifier's framework among the classes of a defence."""
    names = [kind.__name__ for kind in type(classifier).__mro__]
    return 1 if "PyTorchClassifier" in names else 2 if "TensorFlowV2Classifier" in names else 0
