"""Figures 2, 17 and 18: neuron influence before and after attacks, and after defences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from art_nip import NIPPreprocessor, plots
from art_nip.paper.figures.examples import attacked, defence, defended, fooled
from art_nip.paper.grids import Setting
from art_nip.paper.subjects import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from art_nip.plots.drawing import Floats

MOST = 500
"""How many images the paper takes the mean over."""

ATTACKS = ("fgsm", "deepfool", "jsma", "bim", "mifgsm", "pgd", "boundary", "auna", "pwa")
"""Those of Fig. 17; Fig. 2 has six of them."""

REPAIRED = ("deepfool", "fgsm", "boundary", "auna")
DEFENCES = ("ss", "stl", "nip")


def attacks(subjects: Sequence[Subject], setting: Setting) -> Mapping[str, Figure]:
    """Draw Fig. 2 and 17: influence of benign and of successful adversarial images."""
    found = {}
    for subject in subjects:
        nip = _looking(subject)
        pairs = {}
        for attack, x_adv in attacked(subject, setting, MOST).items():
            hit = fooled(subject, x_adv)
            if attack in ATTACKS and hit.any():
                benign = subject.x[: len(x_adv)][hit]
                pairs[attack] = (nip.influence(benign), nip.influence(x_adv[hit]))
        if pairs:
            found[subject.name] = plots.influence_bars(pairs, title=subject.title, columns=3)
    return found


def defences(subjects: Sequence[Subject], setting: Setting) -> Mapping[str, Figure]:
    """Draw Fig. 18: influence of benign images, and of successful adversarial ones, defended."""
    found = {}
    for subject in subjects:
        nip = _looking(subject)
        made = {name: defence(subject, name) for name in DEFENCES}
        images = attacked(subject, setting, MOST)
        pairs: dict[str, tuple[Floats, Floats]] = {}
        for attack in REPAIRED:
            hit = fooled(subject, images[attack])
            if not hit.any():
                continue
            benign = nip.influence(subject.x[: len(hit)][hit])
            for name, preprocessor in made.items():
                repaired = defended(preprocessor, images[attack][hit])
                pairs[f"{attack}, {name}"] = (benign, nip.influence(repaired))
        if pairs:
            found[subject.name] = plots.influence_bars(
                pairs, title=subject.title, columns=len(DEFENCES), second="defended"
            )
    return found


def _looking(subject: Subject) -> NIPPreprocessor:
    """Return a NIP that is only looked through; influence needs no fit."""
    return NIPPreprocessor.for_estimator(subject.classifier, verbose=False)
