"""Attacks by name, and those of the paper that ART lacks or has otherwise, as ART evasion attacks.

A name stands for an attack with parameters: ``get("deepfool").create(classifier)``. The classes are
imported when they are first asked for, as ART imports PyTorch with its attacks.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from art_nip.attacks.registry import MINIMAL, NAMES, PAPER, NamedAttack, get

if TYPE_CHECKING:  # what `__getattr__` gives, for those who check types
    from art_nip.attacks.apgd import AutoProjectedGradientDescent as AutoProjectedGradientDescent
    from art_nip.attacks.auna import AdditiveUniformNoise as AdditiveUniformNoise
    from art_nip.attacks.autoattack import ARTAutoAttack as ARTAutoAttack
    from art_nip.attacks.boundary import BoundaryAttack as BoundaryAttack
    from art_nip.attacks.deepfool import DeepFool as DeepFool
    from art_nip.attacks.foreign.autoattack import AutoAttack as AutoAttack
    from art_nip.attacks.hopskipjump import HopSkipJump as HopSkipJump
    from art_nip.attacks.jsma import SaliencyMapMethod as SaliencyMapMethod
    from art_nip.attacks.minimum_norm import MinimumNorm as MinimumNorm
    from art_nip.attacks.pgd import ProjectedGradientDescent as ProjectedGradientDescent
    from art_nip.attacks.pixel import PixelAttack as PixelAttack
    from art_nip.attacks.pwa import PointwiseAttack as PointwiseAttack
    from art_nip.attacks.random_noise import RandomNoise as RandomNoise
    from art_nip.attacks.square import SquareAttack as SquareAttack
    from art_nip.attacks.steering import SteeringAttack as SteeringAttack
    from art_nip.attacks.universal_perturbation import (
        UniversalPerturbation as UniversalPerturbation,
    )

_PATHS = {
    attack.path.rpartition(".")[2]: attack.path
    for attack in map(get, NAMES)
    if attack.path.startswith(__name__)
} | {"MinimumNorm": f"{__name__}.minimum_norm.MinimumNorm"}
"""Where the classes of this package are; a line in the registry brings another."""

__all__ = ["MINIMAL", "NAMES", "PAPER", "NamedAttack", "get", *_PATHS]


def __getattr__(name: str) -> Any:
    if name not in _PATHS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PATHS[name].rpartition(".")[0]), name)
