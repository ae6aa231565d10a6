"""Attacks of the paper that ART lacks, as ART evasion attacks."""

from art_nip.attacks.auna import AdditiveUniformNoise
from art_nip.attacks.pwa import PointwiseAttack

__all__ = ["AdditiveUniformNoise", "PointwiseAttack"]
