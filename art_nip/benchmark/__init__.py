"""Who wins, measured: attacks and defences on a classifier, in tables and pictures.

Results are kept in a folder as they come, so a run that is stopped goes on where it was. What is
here is loaded when it is first used: to report on results, neither ART nor a framework is needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from art_nip.benchmark.benchmark import Benchmark
    from art_nip.benchmark.resolve import Attack, Defence

__all__ = ["Attack", "Benchmark", "Defence"]

_HOMES = {"Attack": "resolve", "Benchmark": "benchmark", "Defence": "resolve"}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
