"""What NIP asks of PyTorch models."""

from art_nip.estimators.pytorch.adapter import PyTorchAdapter
from art_nip.estimators.pytorch.counting import count, counted_calls
from art_nip.estimators.pytorch.hooks import passing_through

__all__ = ["PyTorchAdapter", "count", "counted_calls", "passing_through"]
