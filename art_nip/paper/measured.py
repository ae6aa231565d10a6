"""What tables and figures read from the results of benchmarks: NIP leaked beside held-out."""

from __future__ import annotations

import math
from collections.abc import Iterator

from art_nip.benchmark.schema.rows import Row
from art_nip.benchmark.schema.words import BENIGN, NONE, Protocol, Threat
from art_nip.paper.grids import NEAREST, NIP, Both
from art_nip.plots import Rate

LEAKED = {NIP: f"{NIP}, leaked", NEAREST: f"{NEAREST}, leaked"}
"""What NIP is called when its bank is leaked."""

HELD_OUT = {leaked: name for name, leaked in LEAKED.items()}


def defences(both: Both) -> list[str]:
    """Return the labels of all defences in the order of figures, "none" first."""
    return [*both.held_out.defences, *LEAKED.values()]


def rows(both: Both, metric: str) -> Iterator[tuple[str, str, Row]]:
    """Yield attack, defence and row of a metric, oblivious."""
    for results, protocol in zip(both, (Protocol.HELD_OUT, Protocol.LEAKED), strict=True):
        for (attack, defence, name), row in results.measured(Threat.OBLIVIOUS, protocol).items():
            if name != metric or math.isnan(row.value):
                continue
            if protocol == Protocol.HELD_OUT:
                yield attack, defence, row
            elif defence != NONE:
                yield attack, LEAKED[defence], row


def by_attack(both: Both, metric: str) -> dict[str, dict[str, Rate]]:
    """Return value and interval of a metric by attack and defence, benign rows left out."""
    found: dict[str, dict[str, Rate]] = {}
    for attack, defence, row in rows(both, metric):
        if attack != BENIGN and defence != NONE:
            found.setdefault(attack, {})[defence] = (row.value, row.low, row.high)
    return found


def by_defence(both: Both, metric: str) -> dict[str, Row]:
    """Return the row of a metric by defence, for benign images."""
    return {defence: row for attack, defence, row in rows(both, metric) if attack == BENIGN}
