"""What `Setting(tiny=True)` makes small, all in one place: every exhibit then takes seconds.

The model is LeNet-5 on MNIST digits, see `art_nip.paper.subjects`. Its numbers say nothing: they
show that everything runs.
"""

from __future__ import annotations

from typing import Any

LIMIT = 8
"""How many images are attacked."""

BANK = 100
"""How many benign images defences are fitted on."""

LADDER: dict[str, Any] = {"eps": 0.2, "eps_step": 0.05, "max_iter": 5}
"""The ladder's BIM of the fixed ε: digits withstand smaller ones."""

SIZES = (1.6, 3.2)
"""ε in L2 of Fig. 8."""

COUNTS = (0, 5)
"""k1 and k2 of Fig. 10."""

PARAMETERS: dict[str, dict[str, Any]] = {
    "bim": {"max_iter": 3},
    "mifgsm": {"max_iter": 3},
    "pgd": {"max_iter": 3},
    "jsma": {"theta": 1.0},
    "boundary": {"max_iter": 10},
    "pixel": {"max_iter": 2},
    "stl": {"n_filters": 16, "n_crops": 64, "iterations": 20},
    "sr": {"features": 8, "blocks": 2, "steps": 30},
}
"""Parameters of the attacks and defences that take long."""


def parameters(name: str, small: bool) -> dict[str, Any]:
    """Return the parameters of an attack or a defence that differ from the registry's.

    :param name: of the attack or the defence.
    :param small: whether the setting is tiny.
    """
    return PARAMETERS.get(name, {}) if small else {}
