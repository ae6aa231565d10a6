"""What a report says first: which defence is best for each threat, and whether to believe it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from art_nip.benchmark.analysis.failures import causes
from art_nip.benchmark.analysis.paired import ALPHA
from art_nip.benchmark.report.document import Facts
from art_nip.benchmark.report.results import Measurements, Results
from art_nip.benchmark.report.scores import (
    Scored,
    means,
    number,
    p_value,
    rated,
    with_none,
    worst_of,
)
from art_nip.benchmark.schema.words import BENIGN, NONE, Protocol, Status, Threat


def verdict(results: Results) -> Facts:
    """Return a few sentences for each threat and protocol, and what failed or is missing."""
    facts = []
    for threat, protocol in results.settings:
        if results.rows_of(threat, protocol):
            of_threat = _adaptive if threat == Threat.ADAPTIVE else _oblivious
            sentences = list(of_threat(results, protocol))
            if protocol == Protocol.LEAKED:
                sentences.append("Not what to expect in use: what learns has seen these images.")
            facts.append((f"{threat}, {protocol}", " ".join(sentences)))
    found = causes(results.rows)
    if found:
        n = sum(cause.n for cause in found)
        facts.append(("failed", f"{_cells(n)} raised an error and left no number; see Failures."))
    missing = sum(results.missing(*setting) for setting in results.settings)
    if missing:
        facts.append(("unfinished", f"{_cells(missing)} still to be computed may change this."))
    return Facts(facts)


def _cells(n: int) -> str:
    return f"{n} cell{'s' * (n > 1)}"


def _oblivious(results: Results, protocol: str) -> Iterator[str]:
    measured = results.measured(Threat.OBLIVIOUS, protocol)
    defences = [defence for defence in results.defences if defence != NONE]
    rates = with_none(measured)
    scored = means(rates, results.attacks, defences, results.sweeps())
    best = _best(scored)
    if best is None:
        yield "No defence has a rate under every attack yet, so none is best."
        return
    value, leaders = best
    names = _names(defences, leaders)
    if value == 0:
        yield "No defence puts any adversarial example right."
        return
    yield (
        f"{names} {_verb(leaders, 'put')} most adversarial examples right, of those crafted "
        f"on the undefended model: mean DSR {value:.2f}. {_benign(measured, defences, leaders)}"
    )
    yield "That says nothing of attackers who know of the defence."


def _adaptive(results: Results, protocol: str) -> Iterator[str]:
    measured = results.measured(Threat.ADAPTIVE, protocol)
    suites = [
        suite
        for suite in results.suites
        if any((suite, defence, "worst_case_accuracy") in measured for defence in results.defences)
    ]
    for suite in suites:
        yield from _of_suite(results, measured, suite, protocol)
        yield from _failed(results, measured, suite)
    if suites:
        return
    bounded = [attack for attack in results.alone if attack in results.sizes]
    scored = [worst_of(measured, bounded, defence) for defence in results.defences]
    best = _best(scored)
    if best is None:
        yield "No defence has been met by every attack that has an ε, so none is best."
    else:
        _, leaders = best
        cell = scored[leaders[0]][1]
        yield (
            f"{_names(results.defences, leaders)} {_verb(leaders, 'keep')} the highest accuracy "
            f"under the worst attack that has an ε: {cell.value} {cell.details[0]}. "
            f"{_benign(measured, results.defences, leaders)}"
        )
    yield (
        "The adaptive suite did not run, so there is no checklist: a stronger attack may well "
        "exist."
    )


def _of_suite(results: Results, measured: Measurements, suite: str, protocol: str) -> Iterator[str]:
    """Yield what the suite leaves of the best defence, beside what it leaves without one."""
    others = [defence for defence in results.defences if defence != NONE]
    accuracies = rated(measured, suite, others, "worst_case_accuracy")
    alone = measured.get((suite, NONE, "worst_case_accuracy"))
    best = _best(accuracies)
    if best is None:
        if alone is not None:
            yield f"The suite {suite!r} leaves {_rate(measured, suite, NONE)} without a defence."
        return
    _, leaders = best
    yield (
        f"{_names(others, leaders)} {_verb(leaders, 'have')} the highest worst-case accuracy under "
        f"the suite {suite!r}, {_rate(measured, suite, others[leaders[0]])}"
        + (f"; without a defence it is {_rate(measured, suite, NONE)}." if alone else ".")
    )
    for place in leaders:
        yield from _compared(measured, suite, others[place])
    yield _benign(measured, others, leaders)
    surely = [
        defence
        for defence in others
        if (p := measured.get((suite, defence, "worst_case_p"))) is not None
        and p.value <= ALPHA
        and measured[suite, defence, "worst_case_difference"].value > 0
    ]
    if alone is not None and not surely:
        yield f"No defence is above none by more than chance (p ≤ {ALPHA:g})."
    items = results.checklist(suite, protocol)
    for defence in [others[place] for place in leaders]:
        of_defence = [item for item in items if item.defence == defence]
        failed = [item.item for item in of_defence if item.status == Status.FAILED]
        not_run = [item.item for item in of_defence if item.status == Status.NOT_RUN]
        if failed:
            yield (
                f"Checklist of {defence}, failed: {'; '.join(failed)}. So a stronger attack may "
                "well exist, and the worst case be lower."
            )
        elif of_defence:
            yield f"Checklist of {defence}: nothing failed."
        if not_run:
            yield f"Not checked: {'; '.join(not_run)}."


def _failed(results: Results, measured: Measurements, suite: str) -> Iterator[str]:
    counts = {name: len(results.failed(measured, suite, name)) for name in results.defences}
    found = [f"{n} on {defence}" for defence, n in counts.items() if n]
    if found:
        yield (
            f"Attacks of the suite {suite!r} failed, see Failures: {', '.join(found)}. What they "
            "would have broken is not in the worst case, which may be lower."
        )


def _compared(measured: Measurements, suite: str, defence: str) -> Iterator[str]:
    difference = measured.get((suite, defence, "worst_case_difference"))
    p = measured.get((suite, defence, "worst_case_p"))
    if difference is None or p is None:
        return
    shown = number(2)(difference)
    text = p_value(p).value
    yield (
        f"{defence} is {shown.value} {' '.join(shown.details)} from none on the same images "
        f"(p {text if text.startswith('<') else f'= {text}'})."
    )


def _rate(measured: Measurements, suite: str, defence: str) -> str:
    row = measured[suite, defence, "worst_case_accuracy"]
    cell = number(2)(row)
    return f"{cell.value} {' '.join(cell.details)}, n = {row.n}"


def _benign(measured: Measurements, defences: Sequence[str], places: Sequence[int]) -> str:
    """Return a sentence on the accuracy on benign images, of some defences and of none."""
    shown = [
        f"{number(2)(row).value} of {defence}"
        for defence in dict.fromkeys([*(defences[place] for place in places), NONE])
        if (row := measured.get((BENIGN, defence, "accuracy"))) is not None
    ]
    return f"Accuracy on benign images: {', '.join(shown)}." if shown else ""


def _best(scored: Sequence[Scored]) -> tuple[float, list[int]] | None:
    """Return the highest value as printed, and the places that have it; None if there is none."""
    printed = [round(value, 2) for value, _ in scored]
    known = [value for value in printed if not math.isnan(value)]
    if not known:
        return None
    highest = max(known)
    return highest, [place for place, value in enumerate(printed) if value == highest]


def _names(defences: Sequence[str], places: Sequence[int]) -> str:
    names = [defences[place] for place in places]
    if len(names) > 3:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _verb(leaders: Sequence[int], plural: str) -> str:
    if len(leaders) > 1:
        return plural
    return {"have": "has"}.get(plural, f"{plural}s")
