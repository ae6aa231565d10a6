"""Defences by name, and the classes behind the names. They need no NIP; any ART user can use them.

Defences that change images are ART preprocessors, for NumPy, PyTorch and TensorFlow; those that
look into the classifier are for PyTorch and TensorFlow only. `ImportanceMasking` changes what a
classifier computes, and is an ART transformer.

Importing this package imports neither PyTorch nor TensorFlow, which ART would import; a class is
loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from art_nip.defences.registry import NAMES, NamedDefence, get, home_of

if TYPE_CHECKING:
    from art_nip.defences.anti_adversary import (
        AntiAdversary,
        AntiAdversaryPyTorch,
        AntiAdversaryTensorFlowV2,
    )
    from art_nip.defences.base import ImageDefence
    from art_nip.defences.feature_distillation import (
        FeatureDistillation,
        FeatureDistillationPyTorch,
        FeatureDistillationTensorFlowV2,
    )
    from art_nip.defences.feature_squeezing import FeatureSqueezing
    from art_nip.defences.importance_masking import ImportanceMasking
    from art_nip.defences.jpeg_compression import JpegCompression
    from art_nip.defences.pytorch import PyTorchDefence
    from art_nip.defences.sparse_transformation import (
        SparseTransformation,
        SparseTransformationPyTorch,
        SparseTransformationTensorFlowV2,
    )
    from art_nip.defences.spatial_smoothing import SpatialSmoothing
    from art_nip.defences.super_resolution import (
        SuperResolution,
        SuperResolutionPyTorch,
        SuperResolutionTensorFlowV2,
    )
    from art_nip.defences.tensorflow import TensorFlowDefence
    from art_nip.defences.total_var_min import TotalVarMin
    from art_nip.defences.total_variance import (
        TotalVarianceMinimization,
        TotalVarianceMinimizationPyTorch,
        TotalVarianceMinimizationTensorFlowV2,
    )

__all__ = [
    "NAMES",
    "AntiAdversary",
    "AntiAdversaryPyTorch",
    "AntiAdversaryTensorFlowV2",
    "FeatureDistillation",
    "FeatureDistillationPyTorch",
    "FeatureDistillationTensorFlowV2",
    "FeatureSqueezing",
    "ImageDefence",
    "ImportanceMasking",
    "JpegCompression",
    "NamedDefence",
    "PyTorchDefence",
    "SparseTransformation",
    "SparseTransformationPyTorch",
    "SparseTransformationTensorFlowV2",
    "SpatialSmoothing",
    "SuperResolution",
    "SuperResolutionPyTorch",
    "SuperResolutionTensorFlowV2",
    "TensorFlowDefence",
    "TotalVarMin",
    "TotalVarianceMinimization",
    "TotalVarianceMinimizationPyTorch",
    "TotalVarianceMinimizationTensorFlowV2",
    "get",
]

_BASES = {"ImageDefence": "base", "PyTorchDefence": "pytorch", "TensorFlowDefence": "tensorflow"}


def __getattr__(name: str) -> Any:
    module = f"{__name__}.{_BASES[name]}" if name in _BASES else home_of(name, __name__)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)
