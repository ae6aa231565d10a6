"""Figures 2, 17 and 18: neuron influence before and after attacks, and after defences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from art_nip import NIPPreprocessor, plots
from art_nip.paper.figures.examples import attacked, defence, defended, fooled
from art_nip.paper.setting import NOTHING_SUCCEEDED, Made, Setting, lacking
from art_nip.paper.subjects import Loaded, subjects

if TYPE_CHECKING:
    from art_nip.plots.drawing import Floats

MOST = 500
"""How many images the paper takes the mean over."""

ATTACKS = ("fgsm", "deepfool", "jsma", "bim", "mifgsm", "pgd", "boundary", "auna", "pwa")
"""Those of Fig. 17; Fig. 2 has six of them."""

REPAIRED = ("deepfool", "fgsm", "boundary", "auna")
DEFENCES = ("ss", "stl", "nip")


def attacks(setting: Setting) -> Made:
    """Draw Fig. 2 and 17: influence of benign and of successful adversarial images."""
    found, without = {}, []
    for subject in subjects(setting):
        nip = _looking(subject)
        pairs = {}
        for attack, x_adv in attacked(subject, setting, MOST).items():
            hit = fooled(subject, x_adv)
            if attack in ATTACKS and hit.any():
                benign = subject.x[: len(x_adv)][hit]
                pairs[attack] = (nip.influence(benign), nip.influence(x_adv[hit]))
        if pairs:
            found[subject.name] = plots.influence_bars(pairs, title=subject.label, columns=3)
        else:
            without.append(subject.label)
    return Made(lacking(without, NOTHING_SUCCEEDED), found)


def defences(setting: Setting) -> Made:
    """Draw Fig. 18: influence of benign images, and of successful adversarial ones, defended."""
    found, without = {}, []
    for subject in subjects(setting):
        nip = _looking(subject)
        made = {name: defence(subject, setting, name) for name in DEFENCES}
        images = attacked(subject, setting, MOST)
        pairs: dict[str, tuple[Floats, Floats]] = {}
        for attack in [name for name in REPAIRED if name in images]:
            hit = fooled(subject, images[attack])
            if not hit.any():
                continue
            benign = nip.influence(subject.x[: len(hit)][hit])
            for name, preprocessor in made.items():
                repaired = defended(preprocessor, images[attack][hit])
                pairs[f"{attack}, {name}"] = (benign, nip.influence(repaired))
        if pairs:
            found[subject.name] = plots.influence_bars(
                pairs, title=subject.label, columns=len(DEFENCES), second="defended"
            )
        else:
            without.append(subject.label)
    return Made(lacking(without, NOTHING_SUCCEEDED), found)


def _looking(subject: Loaded) -> NIPPreprocessor:
    """Return a NIP that is only looked through; influence needs no fit."""
    return NIPPreprocessor.for_estimator(subject.classifier, verbose=False)
