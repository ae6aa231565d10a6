"""Attacks of other libraries as ART evasion attacks: for ART's tools, and for the benchmark.

Each goes through the whole defended classifier, by `art_nip.as_module`; what it asks of the model
is counted as that of any other attack is. The libraries are imported when they are used.
"""

from art_nip.attacks.foreign.adv_lib import AdvLib
from art_nip.attacks.foreign.autoattack import AutoAttack
from art_nip.attacks.foreign.base import ForeignAttack
from art_nip.attacks.foreign.foolbox import Foolbox
from art_nip.attacks.foreign.torchattacks import TorchAttacks

__all__ = ["AdvLib", "AutoAttack", "Foolbox", "ForeignAttack", "TorchAttacks"]
