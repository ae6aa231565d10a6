"""The sections of a report, in their order."""

from __future__ import annotations

from collections.abc import Iterator

from art_nip.benchmark.analysis.failures import causes
from art_nip.benchmark.report import figures, run_tables, tables
from art_nip.benchmark.report.document import Block, Document, Facts, Paragraph, Section
from art_nip.benchmark.report.results import Measurements, Results
from art_nip.benchmark.report.verdict import verdict
from art_nip.benchmark.schema.words import BENIGN, NONE, Protocol, Threat

MEANINGS: dict[str, str] = {
    Protocol.HELD_OUT: "A defence that learns (NIP's candidates, a trained model) learned from "
    "other images than those it is measured on. This is what to expect of it in use.",
    Protocol.LEAKED: "A defence that learns did so from the very images whose adversarial versions "
    "it is then to put right, as nobody who is attacked can. This is what it does with images it "
    "has seen, as the numbers of the NIP paper can only be read, and not what to expect in use. "
    "Defences that learn nothing have the same numbers in both protocols.",
    Threat.OBLIVIOUS: "The attacks do not know of the defence: adversarial examples were crafted "
    "on the undefended classifier, once, and every defence meets the same. A high rate says that "
    "such examples are fragile, not that the defence is secure.",
    Threat.ADAPTIVE: "The attacks go through the defence, anew for each. What accuracy they leave "
    "is an upper bound of the true robustness, as a stronger attack may leave less.",
}
INTERVALS = (
    "In brackets, 95\u00a0%: Wilson's for rates, the normal approximation's for means. They cover "
    "chance in the choice of the images, not another training of the model or another seed. All "
    "defences meet the same images, so the difference of two can be surer than their intervals "
    "look: the worst cases are compared image by image."
)
IMAGES_TO_SHOW = 4


def document(results: Results) -> Document:
    """Return the report of a folder of results, as far as the run got."""
    run = results.run
    sections = [
        Section("Verdict", [verdict(results)] if results.rows else []),
        Section("What was run", [_what(results), *_unfinished(results)]),
        Section("How to read it", [_how_to_read(results)]),
    ]
    for threat, protocol in results.settings:
        if results.rows_of(threat, protocol):
            blocks = list(_measured(results, threat, protocol))
            sections.append(Section(f"{threat.capitalize()} attacks, {protocol}", blocks))
    optional = {
        "The attacks": _attacks(results),
        "What the defences cost": _costs(results),
        "Failures": _failures(results),
    }
    sections += [Section(heading, list(blocks)) for heading, blocks in optional.items()]
    sections.append(
        Section(
            "Parameters",
            [
                run_tables.parameters(run.attacks, "attack"),
                run_tables.parameters(run.defences, "defence"),
            ],
        )
    )
    return Document(
        f"{run.name}: defences against adversarial attacks",
        [section for section in sections if section.blocks],
    )


def _what(results: Results) -> Facts:
    run = results.run
    n, bank = run.n_images, run.n_bank
    shape = " × ".join(map(str, results.image_shape))
    facts = {
        "model": run.model,
        "data set": run.data,
        "images": f"{n:,} of {shape}" if n is not None else shape,
        "bank": f"{bank:,} other images, for defences that learn" if bank else None,
        "seed": run.seed,
        "date": run.date,
        "machine": run.machine,
        "versions": ", ".join(f"{name} {version}" for name, version in run.versions.items()),
        "all numbers": "table.csv, beside this file",
    }
    return Facts([(term, str(fact)) for term, fact in facts.items() if fact not in (None, "")])


def _how_to_read(results: Results) -> Facts:
    axes = [term for threat, protocol in results.settings for term in (protocol, threat)]
    known = [str(term) for term in MEANINGS if term in axes]
    return Facts(
        [
            *((term, MEANINGS[term]) for term in known),
            ("intervals", INTERVALS),
            ("sections", "There is one for each threat and protocol, and no table mixes them."),
        ]
    )


def _unfinished(results: Results) -> Iterator[Block]:
    """Yield a paragraph for each threat and protocol with cells still to be computed."""
    for threat, protocol in results.settings:
        missing = results.missing(threat, protocol)
        if missing:
            cells = results.cells(threat, protocol)
            yield Paragraph(
                f"Unfinished: {missing} of {cells} cells (attacks and benign images × "
                f"defences) of {threat} attacks, {protocol}, are not there yet."
            )


def _measured(results: Results, threat: str, protocol: str) -> Iterator[Block]:
    measured = results.measured(threat, protocol)
    attacks, defences = _present(results, measured)
    setting = f"{threat} attacks, {protocol}"
    sweeps = results.sweeps()
    again = tables.repeated(
        measured, attacks, results.suites if threat == Threat.ADAPTIVE else (), results.run.draws
    )
    if threat == Threat.ADAPTIVE:
        metric, axis = "accuracy", "Robust accuracy"
        for suite in results.suites:
            items = results.checklist(suite, protocol)
            yield tables.worst_case(measured, suite, defences, items)
            if turns := results.cascade(suite, protocol):
                yield tables.cascade(turns, suite, defences)
            yield tables.checklist(suite, defences, items)
        alone = [attack for attack in attacks if attack in results.alone]
        yield tables.robustness(measured, attacks, defences, alone, results.sizes)
        unbounded = [attack for attack in alone if attack not in results.sizes]
        if any((attack, defence, "l2") in measured for attack in unbounded for defence in defences):
            yield tables.distance(measured, unbounded, defences)
        for norm, points in results.curves(threat, protocol).items():
            yield tables.curves(points, norm, defences)
            if (picture := figures.curves(points, norm, defences, setting)) is not None:
                yield picture
    else:
        metric, axis = "dsr", "DSR"
        yield tables.success(measured, attacks, defences, sweeps)
    if again is not None:
        yield again
    drawn = [
        figures.rates(measured, attacks, results.defences, metric, axis, setting),
        *(
            figures.sweep(measured, sweep, results.defences, metric, axis, setting)
            for sweep in sweeps
        ),
    ]
    yield from (picture for picture in drawn if picture is not None)
    if any(metric == "tknc" for _, _, metric in measured):
        yield tables.consistency(measured, attacks, defences)
    if threat == Threat.ADAPTIVE:
        present = {key[:2] for key in measured}
        pairs = {
            f"{attack} through {defence}": (attack, defence)
            for attack in attacks
            for defence in defences
            if defence != NONE and (attack, defence) in present
        }
        yield run_tables.strength(
            measured,
            pairs,
            results.sizes,
            f"What the attacks through each defence reach and cost; {setting}.",
            folded=True,
        )


def _present(results: Results, measured: Measurements) -> tuple[list[str], list[str]]:
    """Return the attacks and the defences that have rows."""
    attacks = {attack for attack, _, _ in measured}
    defences = {defence for _, defence, _ in measured}
    return (
        [attack for attack in results.attacks if attack in attacks],
        [defence for defence in results.defences if defence in defences],
    )


def _attacks(results: Results) -> Iterator[Block]:
    """Yield what the attacks do to the undefended classifier, whatever the protocol."""
    measured = {
        key: row
        for setting in results.settings
        for key, row in results.measured(*setting).items()
        if row.defence == NONE
    }
    attacks, _ = _present(results, measured)
    if attacks:
        yield run_tables.strength(
            measured,
            {attack: (attack, NONE) for attack in attacks},
            results.sizes,
            "What the attacks reach on the undefended classifier, and what they cost.",
        )
    found = results.examples(IMAGES_TO_SHOW, figures.MOST_DRAWN)
    if found is not None:
        yield figures.examples(found, len(results.run.adversarial))


def _costs(results: Results) -> Iterator[Block]:
    for protocol in dict.fromkeys(protocol for _, protocol in results.settings):
        benign = {
            key: row
            for threat, other in results.settings
            if other == protocol
            for key, row in results.measured(threat, protocol).items()
            if row.attack == BENIGN
        }
        _, defences = _present(results, benign)
        if defences:
            caption = f"Classifying one benign image, defence and model together; {protocol}."
            yield run_tables.costs(benign, defences, caption)


def _failures(results: Results) -> Iterator[Block]:
    found = causes(results.rows)
    if found:
        yield run_tables.failures(found)
