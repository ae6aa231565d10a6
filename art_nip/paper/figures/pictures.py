"""Figures 14 to 16: adversarial images, and what defences make of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from art_nip import plots
from art_nip.data import Images
from art_nip.paper.figures.examples import attacked, defence, defended
from art_nip.paper.figures.gallery import gallery
from art_nip.paper.setting import Made, Setting, lacking
from art_nip.paper.subjects import subjects

if TYPE_CHECKING:
    pass

LARGEST = ("pixel", "uap")
"""The attacks of Fig. 14, which change the images of GTSRB most."""

REPAIRED = ("bim", "boundary", "pwa")
DEFENCES = ("cbdr", "sr", "nip")


def adversarial(setting: Setting) -> Made:
    """Draw Fig. 14: images as the largest perturbations leave them."""
    found = {}
    for subject in subjects(setting):
        images = attacked(subject, setting, 4)
        shown = {name: images[name] for name in LARGEST if name in images}
        if shown:
            found[subject.name] = plots.adversarial_grid(
                subject.x[: len(next(iter(shown.values())))],
                shown,
                channels_first=subject.classifier.channels_first,
                title=subject.label,
            )
    return Made(figures=found)


def repaired(setting: Setting) -> Made:
    """Draw Fig. 15 and 16: a benign image, attacked, and defended in three ways."""
    found, without = {}, []
    for subject in subjects(setting):
        images = attacked(subject, setting, len(REPAIRED))
        made = {name: defence(subject, setting, name) for name in DEFENCES}
        columns: dict[str, list[Images]] = {"benign": [], "adversarial": []}
        there = [attack for attack in REPAIRED if attack in images]
        shown = there[: len(subject.x)]  # an image of its own for each
        if not shown:
            without.append(subject.label)
            continue
        for row, attack in enumerate(shown):
            x_adv = images[attack][row : row + 1]
            columns["benign"].append(subject.x[row])
            columns["adversarial"].append(x_adv[0])
            for name, preprocessor in made.items():
                columns.setdefault(name, []).append(defended(preprocessor, x_adv)[0])
        found[subject.name] = gallery(
            {name: np.stack(rows) for name, rows in columns.items()},
            shown,
            subject,
        )
    return Made(lacking(without, "its attacks failed"), found)
