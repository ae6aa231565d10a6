"""One page over many folders of results: which defence keeps how much, sortable and filterable."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path

from art_nip.benchmark.report.document import (
    Block,
    Document,
    Facts,
    Paragraph,
    Section,
    Table,
    TableCell,
)
from art_nip.benchmark.report.leaderboard_rows import (
    UNKNOWN,
    DataRow,
    Store,
    adaptive_rows,
    oblivious_rows,
)
from art_nip.benchmark.report.results import Results
from art_nip.benchmark.report.sections import INTERVALS, MEANINGS
from art_nip.benchmark.schema.words import OF_DEFENCES, Threat
from art_nip.utils.files import write_bytes


def write(folders: Sequence[str | Path], path: str | Path) -> list[str]:
    """Write one page, a file that needs no other, over many folders of results.

    :param folders: the stores of benchmarks, one at least.
    :param path: the file to write; its folder exists.
    :return: sentences on what a reader must not compare, and on what is not finished.
    :raises FileNotFoundError: if a folder, or a file in it, is not there, or none to write into.
    :raises ValueError: if a folder is given twice, or a file in it is damaged or of another format.
    """
    place = Path(path).parent
    if not place.is_dir():
        raise FileNotFoundError(f"There is no folder {place}: make it, or give another.")
    stores = _stores(folders)
    remarks = list(_remarks(stores))
    package = files(__package__)
    style, script = (
        package.joinpath(name).read_text(encoding="utf-8")
        for name in ("style.css", "leaderboard.js")
    )
    page = _document(stores, remarks).html(style, script)
    write_bytes(Path(path), page.encode())
    return remarks


def _stores(folders: Sequence[str | Path]) -> list[Store]:
    if not folders:
        raise ValueError("There is no folder: give one at least that a benchmark has written to.")
    found: dict[Path, Store] = {}
    for folder in map(Path, folders):
        place = folder.resolve()
        if place in found:
            raise ValueError(f"{folder} and {found[place].folder} are the same folder.")
        found[place] = Store(folder, Results(folder))
    return list(found.values())


def _remarks(stores: Sequence[Store]) -> Iterator[str]:
    """Yield sentences on what must not be compared, and on what is not finished."""
    data = list(dict.fromkeys(store.data for store in stores))
    if len(data) > 1:
        yield (
            f"The folders are of {len(data)} data sets ({', '.join(data)}): compare only rows of "
            "one of them."
        )
    for name in data:
        of_data = [store for store in stores if store.data == name]
        kinds = {store.results.run.images for store in of_data}
        if len(of_data) > 1 and (name == UNKNOWN or None in kinds):
            yield (
                f"It is not known whether {_quoted(of_data)} saw the same images, so a small "
                "difference between them may be one of the images."
            )
        elif len(kinds) > 1:
            yield (
                f"The benchmarks on {name} saw {len(kinds)} different sets of images: a small "
                "difference between them may be one of the images."
            )
    for name, n in Counter(store.results.run.name for store in stores).items():
        if n > 1:
            yield f"{n} folders are called {name!r}, which their rows do not tell apart."
    for store in stores:
        results = store.results
        missing = sum(results.missing(*setting) for setting in results.settings)
        if missing:
            yield f"{results.run.name} ({store.folder}) is unfinished; cells to go: {missing}."
        failed = sum(row.metric == "error" for row in results.rows)
        if failed:
            yield f"{results.run.name} ({store.folder}) has cells that raised an error: {failed}."


def _quoted(stores: Sequence[Store]) -> str:
    return ", ".join(repr(store.results.run.name) for store in stores)


def _document(stores: Sequence[Store], remarks: Sequence[str]) -> Document:
    introduction: list[Block] = [Paragraph(remark) for remark in remarks]
    introduction.append(_folders(stores))
    sections = [Section("What is compared", introduction)]
    tables = {Threat.ADAPTIVE: adaptive_rows, Threat.OBLIVIOUS: oblivious_rows}
    for threat, table in tables.items():
        for protocol in OF_DEFENCES:
            rows = [row for store in stores for row in table(store, protocol)]
            if rows:
                heading = f"{threat.capitalize()} attacks, {protocol}"
                meaning = Facts([(str(term), MEANINGS[term]) for term in (protocol, threat)])
                marks = {"threat": str(threat), "protocol": str(protocol)}
                sections.append(Section(heading, [meaning, _table(threat, protocol, rows)], marks))
    sections.append(Section("Intervals", [Paragraph(INTERVALS)]))
    return Document("Leaderboard: defences against adversarial attacks", sections)


def _folders(stores: Sequence[Store]) -> Table:
    rows = [
        (
            store.results.run.name,
            [
                TableCell(str(store.folder)),
                TableCell(store.data),
                TableCell(f"{store.results.run.n_images or '–'}"),
                TableCell(store.results.run.model or "–"),
                TableCell(store.results.run.date or "–"),
                TableCell(
                    ", ".join(f"{name} {of}" for name, of in store.results.run.versions.items())
                ),
            ],
        )
        for store in stores
    ]
    columns = ["folder", "data set", "images", "model", "date", "versions"]
    return Table("The folders of results.", "benchmark", columns, rows, texts=True, folded=True)


def _table(threat: Threat, protocol: str, rows: Iterable[DataRow]) -> Table:
    if threat == Threat.ADAPTIVE:
        by = "robust accuracy"
        caption = (
            "Robust accuracy: the share of the images that the defended classifier gets right "
            "whichever attack they meet, each attack through the defence"
        )
        columns = [
            *("benchmark", "data set", "ε", by, "attacked by", "benign accuracy"),
            *("difference to none", "p", "items failed", "forward passes"),
        ]
        notes = (
            "Compare rows of one data set and one ε (of images in [0, 1], in L∞ or L2). Attacked "
            "by: an adaptive suite, or the worst of what else was run within this ε, which may be "
            "too weak to say much; n is how many images. ≤: another of these attacks raised an "
            "error or is not there yet, so the row has no rank. Difference to none: of the same "
            "benchmark, on the same images, with p of the exact McNemar test, adjusted by Holm's "
            "method; of suites only. Items failed: of the checklist; each says that a stronger "
            "attack may well exist."
        )
    else:
        by = "mean DSR"
        caption = (
            "Defence success rate (DSR): the share of the successful adversarial examples, crafted "
            "without the defence, that it puts right"
        )
        columns = [
            *("benchmark", "data set", by, "lowest DSR", "attacks", "benign accuracy"),
            *("images", "forward passes"),
        ]
        notes = (
            "Compare rows of one data set and the same attacks: the mean is over those of the "
            "benchmark, where those that differ only by ε count as one, and has no interval. "
            "Lowest DSR: under which attack. none puts nothing right, by definition."
        )
    place = columns.index(by)
    ordered = sorted(rows, key=lambda row: _descending(row[1][place]))
    return Table(
        f"{caption}; {protocol}.",
        "defence",
        columns,
        ordered,
        notes=f"{notes} –: not measured, or not yet.",
        sorted_by=by,
    )


def _descending(cell: TableCell) -> tuple[bool, float]:
    value = math.nan if cell.order is None else cell.order
    return (True, 0.0) if math.isnan(value) else (False, -value)
