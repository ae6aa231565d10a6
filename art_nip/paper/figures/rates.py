"""Figures 7, 8, 9 and 13: rates of defences, their neurons, and the quality of their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from art_nip import plots
from art_nip.paper import grids, measured
from art_nip.paper.figures.panels import dots
from art_nip.paper.grids import Setting
from art_nip.paper.subjects import Subject

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from art_nip.plots import Rate

FROM_BOTH_SIDES = ("pgd", "pwa")
"""The white-box and the black-box attack of Fig. 9 and 13."""


def success(subjects: Sequence[Subject], setting: Setting) -> Mapping[str, Figure]:
    """Draw Fig. 7: DSR of the defences under the attacks."""
    found = {}
    for subject in subjects:
        results = grids.comparison(subject, setting)
        found[subject.name] = plots.rates(
            measured.by_attack(results, "dsr"), measured.defences(results), title=subject.title
        )
    return found


def sizes(subjects: Sequence[Subject], setting: Setting) -> Mapping[str, Figure]:
    """Draw Fig. 8: DSR against the size of PGD in L2."""
    found = {}
    for subject in subjects:
        results = grids.sizes(subject, setting)
        curves: dict[str, list[tuple[float, Rate]]] = {}
        for attack, rates in measured.by_attack(results, "dsr").items():
            for defence, rate in rates.items():
                curves.setdefault(defence, []).append((results.sizes[attack], rate))
        title = f"PGD in L2, {subject.title}"
        found[subject.name] = plots.sweep(curves, measured.defences(results), title=title)
    return found


def consistency(subjects: Sequence[Subject], setting: Setting) -> Mapping[str, Figure]:
    """Draw Fig. 9: DSR beside the consistency of the five most influential neurons (TKNC)."""
    found = {}
    for subject in subjects:
        results = grids.comparison(subject, setting)
        dsr, tknc = (measured.by_attack(results, metric) for metric in ("dsr", "tknc"))
        panels = {
            f"{subject.title}, {attack}": {
                "DSR": dsr.get(attack, {}),
                "TKNC (k = 5)": tknc.get(attack, {}),
            }
            for attack in FROM_BOTH_SIDES
        }
        found[subject.name] = dots(panels, "DSR, TKNC")
    return found


def quality(subjects: Sequence[Subject], setting: Setting) -> Mapping[str, Figure]:
    """Draw Fig. 13: PSNR between defended adversarial images and benign ones."""
    panels = {}
    for subject in subjects:
        psnr = measured.by_attack(grids.comparison(subject, setting), "psnr")
        reactive = {
            attack: {
                defence: rate
                for defence, rate in psnr.get(attack, {}).items()
                if defence not in grids.PROACTIVE
            }
            for attack in FROM_BOTH_SIDES
        }
        panels[subject.title] = reactive
    return {"psnr": dots(panels, "PSNR in dB", rate=False)}
