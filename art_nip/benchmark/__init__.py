"""Measures attacks and defences on a classifier, and reports in tables and figures.

Results are written to a folder as they come, so a run that was stopped continues where it was. The
classes here are loaded on first use: a report on results needs neither ART nor a framework.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from art_nip.benchmark.analysis.warnings import FailedCellsWarning, NoSuccessWarning
    from art_nip.benchmark.benchmark import Benchmark
    from art_nip.benchmark.mixture import MixtureAccuracy, choose_mixture
    from art_nip.benchmark.plan.attacks import Attack
    from art_nip.benchmark.plan.defences import Defence

__all__ = [
    "Attack",
    "Benchmark",
    "Defence",
    "FailedCellsWarning",
    "MixtureAccuracy",
    "NoSuccessWarning",
    "choose_mixture",
]

_MODULES = {
    "Attack": "plan.attacks",
    "Benchmark": "benchmark",
    "Defence": "plan.defences",
    "FailedCellsWarning": "analysis.warnings",
    "MixtureAccuracy": "mixture",
    "NoSuccessWarning": "analysis.warnings",
    "choose_mixture": "mixture",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
