"""Attacks by name, and those of the paper that ART lacks, all as ART evasion attacks."""

from art_nip.attacks.auna import AdditiveUniformNoise
from art_nip.attacks.pwa import PointwiseAttack
from art_nip.attacks.registry import NAMES, PAPER, NamedAttack, get

__all__ = [
    "NAMES",
    "PAPER",
    "AdditiveUniformNoise",
    "NamedAttack",
    "PointwiseAttack",
    "get",
]
