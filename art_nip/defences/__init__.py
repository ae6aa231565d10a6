"""Defences that ART lacks. They need no NIP; any ART user can use them.

Those that change images are ART preprocessors, for NumPy, PyTorch and TensorFlow, or, where they
look into the classifier, for the last two. `importance_masked` changes what a classifier computes,
and returns one.
"""

from art_nip.defences.anti_adversary import (
    AntiAdversary,
    AntiAdversaryPyTorch,
    AntiAdversaryTensorFlowV2,
)
from art_nip.defences.feature_distillation import (
    FeatureDistillation,
    FeatureDistillationPyTorch,
    FeatureDistillationTensorFlowV2,
)
from art_nip.defences.importance_masking import importance_masked
from art_nip.defences.registry import NAMES, NamedDefence, get
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

__all__ = [
    "NAMES",
    "AntiAdversary",
    "AntiAdversaryPyTorch",
    "AntiAdversaryTensorFlowV2",
    "FeatureDistillation",
    "FeatureDistillationPyTorch",
    "FeatureDistillationTensorFlowV2",
    "NamedDefence",
    "SparseTransformation",
    "SparseTransformationPyTorch",
    "SparseTransformationTensorFlowV2",
    "SuperResolution",
    "SuperResolutionPyTorch",
    "SuperResolutionTensorFlowV2",
    "TotalVarianceMinimization",
    "TotalVarianceMinimizationPyTorch",
    "TotalVarianceMinimizationTensorFlowV2",
    "get",
    "importance_masked",
]
