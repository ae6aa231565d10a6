"""Figures 10 and 11: DSR of NIP with other numbers of neurons, and at other layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from art_nip.benchmark.report.results import Results
from art_nip.benchmark.schema.words import NONE, Protocol
from art_nip.paper import grids
from art_nip.paper.figures.panels import lines
from art_nip.paper.setting import Made, Setting
from art_nip.paper.subjects import Loaded, subjects

if TYPE_CHECKING:
    from art_nip.plots import Rate

FORMS = {Protocol.HELD_OUT: "δ, held-out", Protocol.LEAKED: "nearest, leaked"}


def counts(setting: Setting) -> Made:
    """Draw Fig. 10: DSR for k1 and k2 from 0 to 10, the other being 5."""
    panels = {}
    for subject in subjects(setting):
        found = _both(grids.counts, subject, setting)
        for k in ("k1", "k2"):
            panels[f"{subject.label}, {k}"] = {
                form: {
                    label.removeprefix(f"{k}="): rate
                    for label, rate in rates.items()
                    if label.startswith(f"{k}=")
                }
                for form, rates in found.items()
            }
    return Made(figures={"counts": lines(panels, "number of neurons", "DSR")})


def layers(setting: Setting) -> Made:
    """Draw Fig. 11: DSR for layers from the image to the logits."""
    panels = {subject.label: _both(grids.layers, subject, setting) for subject in subjects(setting)}
    return Made(figures={"layers": lines(panels, "layer", "DSR")})


def _both(
    run: Callable[[Loaded, Setting, Protocol], Results], subject: Loaded, setting: Setting
) -> dict[str, dict[str, Rate]]:
    """Return DSR under PGD by form of NIP and label of the variant."""
    return {
        FORMS[protocol]: {
            defence: (row.value, row.low, row.high)
            for (_, defence, metric), row in run(subject, setting, protocol)
            .measured("oblivious", protocol)
            .items()
            if metric == "dsr" and defence != NONE
        }
        for protocol in FORMS
    }
