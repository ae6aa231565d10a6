"""Detects adversarial examples by what NIP looks at, and evades detectors.

A name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from art_nip.detection.detector import NIPDetector
    from art_nip.detection.selective import ScoresImages, SelectivePGD

__all__ = ["NIPDetector", "ScoresImages", "SelectivePGD"]

_MODULES = {
    "NIPDetector": "detector",
    "ScoresImages": "selective",
    "SelectivePGD": "selective",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
