"""`entry.json`: what was measured of each defence, in the shape of RobustBench's `model_info`.

What a benchmark cannot know (authors, venue, link, additional data) is left out, for whoever
submits an entry to add.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from art_nip.benchmark.report.results import Measurements, Results
from art_nip.benchmark.report.scores import share
from art_nip.benchmark.schema.rows import Row
from art_nip.benchmark.schema.words import BENIGN, Norm, Status, Threat

AUTOATTACK = "autoattack"
"""The attack whose accuracy RobustBench ranks by."""


def entries(results: Results) -> list[dict[str, Any]]:
    """Return an entry for each defence and protocol, and for each budget of what attacks it.

    Only attacks through the defence count: examples that were crafted without it say nothing of an
    attacker who knows of it.

    :param results: a folder of results.
    """
    return [
        entry
        for protocol in map(str, results.run.protocols)
        for defence in results.defences
        for entry in _of_defence(results, defence, protocol)
    ]


def _of_defence(results: Results, defence: str, protocol: str) -> Iterator[dict[str, Any]]:
    measured = {
        **results.measured(Threat.OBLIVIOUS, protocol),
        **results.measured(Threat.ADAPTIVE, protocol),
    }
    benign = measured.get((BENIGN, defence, "accuracy"))
    if benign is None:
        return
    adaptive = results.measured(Threat.ADAPTIVE, protocol)
    found: dict[tuple[float, str], dict[str, Row]] = {}
    for field, row in _robust(results, adaptive, defence):
        rows = found.setdefault((row.eps, row.norm), {})
        # Several suites, or several runs of AutoAttack, may have one budget.
        if field not in rows or row.value < rows[field].value:
            rows[field] = row
    for budget, rows in found.items() or [((math.nan, ""), {})]:
        yield _entry(results, defence, protocol, budget, {"clean_acc": benign, **rows}, measured)


def _robust(results: Results, adaptive: Measurements, defence: str) -> Iterator[tuple[str, Row]]:
    """Yield RobustBench's name of each robust accuracy of a defence, and its row."""
    for attack in results.run.attacks:
        row = adaptive.get((attack.label, defence, "accuracy"))
        if attack.name == AUTOATTACK and row is not None and not math.isnan(row.eps):
            yield "autoattack_acc", row
    for suite in results.suites:
        row = adaptive.get((suite, defence, "worst_case_accuracy"))
        if row is not None:
            yield "external", row


def _entry(
    results: Results,
    defence: str,
    protocol: str,
    budget: tuple[float, str],
    rows: dict[str, Row],
    measured: Measurements,
) -> dict[str, Any]:
    run = results.run
    passes = measured.get((BENIGN, defence, "forward_passes"))
    entry: dict[str, Any] = {"name": defence}
    if passes is not None:
        whole = passes.value == int(passes.value)
        entry["number_forward_passes"] = int(passes.value) if whole else round(passes.value, 2)
    if run.data is not None:
        entry["dataset"] = run.data
    if run.model is not None:
        entry["architecture"] = run.model.partition(", fingerprint ")[0]
    eps, norm = budget
    if not math.isnan(eps):
        entry["eps"] = f"{eps:g}" if norm == Norm.L2 else share(eps)
    entry |= {field: f"{100 * row.value:.2f}" for field, row in rows.items()}
    flagged = _flagged(results, defence, protocol, budget)
    if flagged is not None:
        entry["unreliable"] = flagged
    entry["footnote"] = _footnote(protocol, rows)
    entry["art_nip"] = {
        "benchmark": run.name,
        "protocol": protocol,
        "norm": norm or None,
        "images": run.images,
        "n": {field: row.n for field, row in rows.items()},
        "intervals": {
            field: [round(100 * row.low, 2), round(100 * row.high, 2)]
            for field, row in rows.items()
        },
        "date": run.date,
        "versions": run.versions,
    }
    return entry


def _flagged(
    results: Results, defence: str, protocol: str, budget: tuple[float, str]
) -> bool | None:
    """Return whether AutoAttack itself says that its accuracy is not to be relied on."""
    measured = results.measured(Threat.ADAPTIVE, protocol)
    found = set()
    for suite in results.suites:
        row = measured.get((suite, defence, "worst_case_accuracy"))
        if row is None or (row.eps, row.norm) != budget:
            continue
        for item in results.checklist(suite, protocol):
            if item.defence == defence and item.item == "AutoAttack raises no flag":
                found.add(item.status)
    return Status.FAILED in found if found - {Status.NOT_RUN} else None


def _footnote(protocol: str, rows: dict[str, Row]) -> str:
    clean = rows["clean_acc"]
    sentences = [
        f"Accuracy on {clean.n} images, the defence fitted as the protocol {protocol} says."
    ]
    if "autoattack_acc" in rows:
        sentences.append(f"AutoAttack through the defence, on {rows['autoattack_acc'].n} images.")
    if "external" in rows:
        row = rows["external"]
        sentences.append(
            f"External: the worst case over art-nip's suite {row.attack!r}, on {row.n} images."
        )
    return " ".join(sentences)
