"""Attacks by name, and those of the paper that ART lacks or has otherwise, as ART evasion attacks.

A name stands for an attack with parameters: ``get("deepfool").create(classifier)``. The classes are
imported when they are first asked for, as ART imports PyTorch with its attacks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from art_nip.attacks.registry import NAMES, PAPER, NamedAttack, get

if TYPE_CHECKING:
    from art_nip.attacks.apgd import AutoProjectedGradientDescent
    from art_nip.attacks.auna import AdditiveUniformNoise
    from art_nip.attacks.autoattack import AutoAttack
    from art_nip.attacks.boundary import BoundaryAttack
    from art_nip.attacks.deepfool import DeepFool
    from art_nip.attacks.hopskipjump import HopSkipJump
    from art_nip.attacks.jsma import SaliencyMapMethod
    from art_nip.attacks.nip_steering import SteeringAttack
    from art_nip.attacks.pgd import ProjectedGradientDescent
    from art_nip.attacks.pixel import PixelAttack
    from art_nip.attacks.pwa import PointwiseAttack
    from art_nip.attacks.random_noise import RandomNoise
    from art_nip.attacks.universal_perturbation import UniversalPerturbation

_MODULES = {
    "AdditiveUniformNoise": "auna",
    "AutoAttack": "autoattack",
    "AutoProjectedGradientDescent": "apgd",
    "BoundaryAttack": "boundary",
    "DeepFool": "deepfool",
    "HopSkipJump": "hopskipjump",
    "PixelAttack": "pixel",
    "PointwiseAttack": "pwa",
    "ProjectedGradientDescent": "pgd",
    "RandomNoise": "random_noise",
    "SaliencyMapMethod": "jsma",
    "SteeringAttack": "nip_steering",
    "UniversalPerturbation": "universal_perturbation",
}

__all__ = [
    "NAMES",
    "PAPER",
    "AdditiveUniformNoise",
    "AutoAttack",
    "AutoProjectedGradientDescent",
    "BoundaryAttack",
    "DeepFool",
    "HopSkipJump",
    "NamedAttack",
    "PixelAttack",
    "PointwiseAttack",
    "ProjectedGradientDescent",
    "RandomNoise",
    "SaliencyMapMethod",
    "SteeringAttack",
    "UniversalPerturbation",
    "get",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
