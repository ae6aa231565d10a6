"""Figures 7, 8, 9 and 13: rates of defences, their neurons, and the quality of their images."""

from __future__ import annotations

from statistics import fmean
from typing import TYPE_CHECKING

from art_nip import plots
from art_nip.paper import grids, measured
from art_nip.paper.figures.panels import dots
from art_nip.paper.published import ATTACKS
from art_nip.paper.setting import NOTHING_SUCCEEDED, Made, Setting, lacking
from art_nip.paper.subjects import subjects
from art_nip.paper.tables import interval, markdown

if TYPE_CHECKING:
    from art_nip.plots import Rate

FROM_BOTH_SIDES = ("pgd", "pwa")
"""The white-box and the black-box attack of Fig. 9 and 13."""


def success(setting: Setting) -> Made:
    """Draw Fig. 7: DSR of the defences under the attacks; the table has its means too."""
    found, lines, without = {}, [], []
    for subject in subjects(setting):
        results = grids.comparison(subject, setting)
        dsr, defences = measured.by_attack(results, "dsr"), measured.defences(results)
        if not dsr:
            without.append(subject.label)
            continue
        found[subject.name] = plots.rates(
            dsr, defences, hollow=measured.HELD_OUT, title=subject.label
        )
        for defence in defences:
            rates = {attack: of[defence] for attack, of in dsr.items() if defence in of}
            if rates:
                mean = fmean(value for value, _, _ in rates.values())
                cells = [interval(*rates[name]) if name in rates else "–" for name in ATTACKS]
                lines.append([subject.label, defence, f"{mean:.2f}", *cells])
    table = markdown(["model", "defence", "mean DSR", *ATTACKS], lines) if lines else ""
    return Made("\n\n".join(filter(None, [table, lacking(without, NOTHING_SUCCEEDED)])), found)


def sizes(setting: Setting) -> Made:
    """Draw Fig. 8: DSR against the size of PGD in L2."""
    found, without = {}, []
    for subject in subjects(setting):
        results = grids.sizes(subject, setting)
        curves: dict[str, list[tuple[float, Rate]]] = {}
        for attack, rates in measured.by_attack(results, "dsr").items():
            for defence, rate in rates.items():
                curves.setdefault(defence, []).append((results.held_out.sizes[attack], rate))
        if not curves:
            without.append(subject.label)
            continue
        title = f"PGD in L2, {subject.label}"
        found[subject.name] = plots.sweep(
            curves, measured.defences(results), hollow=measured.HELD_OUT, title=title
        )
    return Made(lacking(without, NOTHING_SUCCEEDED), found)


def consistency(setting: Setting) -> Made:
    """Draw Fig. 9: DSR beside the consistency of the five most influential neurons (TKNC)."""
    found = {}
    for subject in subjects(setting):
        results = grids.comparison(subject, setting)
        dsr, tknc = (measured.by_attack(results, metric) for metric in ("dsr", "tknc"))
        panels = {
            f"{subject.label}, {attack}": {
                "DSR": dsr.get(attack, {}),
                "TKNC (k = 5)": tknc.get(attack, {}),
            }
            for attack in FROM_BOTH_SIDES
        }
        found[subject.name] = dots(panels, "DSR, TKNC")
    return Made(figures=found)


def quality(setting: Setting) -> Made:
    """Draw Fig. 13: PSNR between defended adversarial images and benign ones."""
    panels = {}
    for subject in subjects(setting):
        psnr = measured.by_attack(grids.comparison(subject, setting), "psnr")
        reactive = {
            attack: {
                defence: rate
                for defence, rate in psnr.get(attack, {}).items()
                if defence not in grids.PROACTIVE
            }
            for attack in FROM_BOTH_SIDES
        }
        panels[subject.label] = reactive
    return Made(figures={"psnr": dots(panels, "PSNR in dB", rate=False)})
