"""Neuron-level inverse perturbation (NIP) for the Adversarial Robustness Toolbox.

Importing this package imports neither PyTorch nor TensorFlow; a name is loaded when it is first
used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from art_nip.estimators.module import as_module
    from art_nip.nip.preprocessor import (
        NIPPreprocessor,
        NIPPreprocessorPyTorch,
        NIPPreprocessorTensorFlowV2,
    )

__version__ = "0.1.0"
__all__ = [
    "NIPPreprocessor",
    "NIPPreprocessorPyTorch",
    "NIPPreprocessorTensorFlowV2",
    "__version__",
    "as_module",
]


def __getattr__(name: str) -> Any:
    if name == "as_module":
        return import_module("art_nip.estimators.module").as_module
    if name in __all__:
        return getattr(import_module("art_nip.nip.preprocessor"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
