"""What tables and figures read from the results of a benchmark: NIP leaked beside held-out."""

from __future__ import annotations

import math
from collections.abc import Iterator

from art_nip.benchmark.report.results import Results
from art_nip.benchmark.schema import BENIGN, NONE, Protocol, Row, Threat
from art_nip.paper.grids import NEAREST, NIP
from art_nip.plots import Rate

LEAKED = {NIP: f"{NIP}, leaked", NEAREST: f"{NEAREST}, leaked"}
"""What NIP is called when its bank is leaked; other defences are shown held-out only."""


def defences(results: Results) -> list[str]:
    """Return the labels of all defences in the order of figures, "none" first."""
    return [*results.defences, *(LEAKED[label] for label in results.defences if label in LEAKED)]


def rows(results: Results, metric: str) -> Iterator[tuple[str, str, Row]]:
    """Yield attack, defence and row of a metric, oblivious."""
    for protocol in results.run.protocols:
        for (attack, defence, name), row in results.measured(Threat.OBLIVIOUS, protocol).items():
            leaked = protocol == Protocol.LEAKED
            if name == metric and (not leaked or defence in LEAKED) and not math.isnan(row.value):
                yield attack, LEAKED[defence] if leaked else defence, row


def by_attack(results: Results, metric: str) -> dict[str, dict[str, Rate]]:
    """Return value and interval of a metric by attack and defence, benign rows left out."""
    found: dict[str, dict[str, Rate]] = {}
    for attack, defence, row in rows(results, metric):
        if attack != BENIGN and defence != NONE:
            found.setdefault(attack, {})[defence] = (row.value, row.low, row.high)
    return found


def by_defence(results: Results, metric: str, attack: str = BENIGN) -> dict[str, Row]:
    """Return the row of a metric by defence, for one attack or the benign images."""
    return {defence: row for found, defence, row in rows(results, metric) if found == attack}
