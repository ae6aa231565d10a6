"""Defences that ART lacks, as ART preprocessors: each for NumPy, PyTorch and TensorFlow.

They need no NIP; any ART user can chain them.
"""

from art_nip.defences.feature_distillation import (
    FeatureDistillation,
    FeatureDistillationPyTorch,
    FeatureDistillationTensorFlowV2,
)
from art_nip.defences.total_variance import (
    TotalVarianceMinimization,
    TotalVarianceMinimizationPyTorch,
    TotalVarianceMinimizationTensorFlowV2,
)

__all__ = [
    "FeatureDistillation",
    "FeatureDistillationPyTorch",
    "FeatureDistillationTensorFlowV2",
    "TotalVarianceMinimization",
    "TotalVarianceMinimizationPyTorch",
    "TotalVarianceMinimizationTensorFlowV2",
]
