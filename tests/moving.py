"""A defence that attacks which do not know of it miss."""

from typing import Any

import torch
from art.defences.preprocessor.preprocessor import PreprocessorPyTorch


class Moved(PreprocessorPyTorch):
    """Moves images by a pixel."""

    def __init__(self) -> None:
        super().__init__(is_fitted=True)

    def forward(self, x: torch.Tensor, y: Any = None) -> tuple[torch.Tensor, Any]:
        return x.roll((1, 1), (2, 3)), y
