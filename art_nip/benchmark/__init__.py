"""Who wins, measured: attacks and defences on a classifier, in tables and pictures.

Results are kept in a folder as they come, so a run that is stopped goes on where it was.
"""

from art_nip.benchmark.benchmark import Benchmark
from art_nip.benchmark.resolve import Attack, Defence

__all__ = ["Attack", "Benchmark", "Defence"]
