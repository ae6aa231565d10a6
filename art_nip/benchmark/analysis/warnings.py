"""What a user is told at the end of a run: cells that failed, attacks that reached nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import pandas as pd
from tqdm.auto import tqdm

from art_nip.attacks import NAMES
from art_nip.benchmark.analysis.failures import causes
from art_nip.benchmark.plan.attacks import AttackEntry
from art_nip.utils.warned import warn


class FailedCellsWarning(UserWarning):
    """Some cells of a benchmark raised an error."""


class NoSuccessWarning(UserWarning):
    """An attack of the user's own turned no image wrong."""


def warn_of_failures(table: pd.DataFrame, verbose: bool) -> None:
    """Say which cells failed, and why.

    :param table: of all cells.
    :param verbose: whether it is written too, as some programs show no warnings.
    """
    found = causes(table[table.metric == "error"].itertuples())
    if not found:
        return
    text = "\n".join(
        [
            f"{sum(cause.n for cause in found)} cells raised an error, and are "
            "tried again when the benchmark is run again:",
            *map(str, found),
        ]
    )
    if verbose:
        tqdm.write(text, file=sys.stderr)
    warn(text, FailedCellsWarning)


def warn_of_no_success(table: pd.DataFrame, attacks: Sequence[AttackEntry]) -> None:
    """Warn of attacks without a name here that never succeeded: labels may be targets to them.

    An attack that hands the labels on to another does not show what they mean to that one.
    """
    own = {entry.label for entry in attacks if entry.name not in NAMES and not entry.suite}
    none = table[(table.metric == "asr") & (table.value == 0) & table.attack.isin(own)]
    for row in none.itertuples():
        warn(
            f"The attack {row.attack!r} led none of {row.n} images away from its class, "
            f"defended by {row.defence!r}. It was given their true classes as labels: if it "
            "takes labels for targets, the images were there already. Then have it choose "
            "others, or make it with targeted=False.",
            NoSuccessWarning,
        )
