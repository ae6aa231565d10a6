"""The parts of a report, each as HTML and as GitHub's Markdown.

Texts are plain. Everything in them is escaped here, above all labels that users chose.
"""

from __future__ import annotations

import base64
import html
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count, pairwise

MAX_MARKDOWN_COLUMNS = 8
"""The number of columns that GitHub shows without scrolling."""


@dataclass(frozen=True)
class TableCell:
    """A cell of a table.

    :param value: what it says.
    :param details: remarks on the value, in smaller type.
    :param best: whether the value is to stand out.
    :param order: what a table is sorted by; NaN comes last, and None takes the text.
    """

    value: str
    details: tuple[str, ...] = ()
    best: bool = False
    order: float | None = None

    def html(self) -> str:
        """Return a td."""
        value = f"<b>{_html(self.value)}</b>" if self.best else _html(self.value)
        details = "".join(f" <small>{_html(detail)}</small>" for detail in self.details)
        order = ""
        if self.order is not None:
            order = f' data-order="{"" if math.isnan(self.order) else repr(self.order)}"'
        return f"<td{order}>{value}{details}</td>"

    def markdown(self) -> str:
        """Return one line."""
        value = f"**{_markdown(self.value)}**" if self.best else _markdown(self.value)
        # A line may break between value and interval, not within the interval.
        details = (_markdown(detail).replace(" ", "\xa0") for detail in self.details)
        return " ".join([value, *details])


@dataclass(frozen=True)
class Table:
    """A table with headings for its rows and columns.

    :param caption: what it shows.
    :param corner: what the rows are.
    :param columns: headings.
    :param rows: heading and cells of each row.
    :param foot: rows at the foot of the table, about its columns.
    :param across: what the columns are, if Markdown may swap rows and columns: it cannot keep the
        headings of a wide table in sight.
    :param notes: what a reader needs to know to read the table.
    :param texts: whether cells hold words, not numbers.
    :param folded: whether the table is shown on demand only.
    :param sorted_by: heading of the column that the rows are sorted by, from high to low; such a
        table can be sorted anew where the page has a script for it.
    """

    caption: str
    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[TableCell]]]
    foot: Sequence[tuple[str, Sequence[TableCell]]] = ()
    across: str = ""
    notes: str = ""
    texts: bool = False
    folded: bool = False
    sorted_by: str = ""

    def html(self, ids: count[int]) -> str:
        """Return a table that scrolls by itself under its first column, which stays."""
        name = f"table-{next(ids)}"
        headings = "".join(
            f'<th scope="col"{self._of_column(place)}>{_html(column)}</th>'
            for place, column in enumerate((self.corner, *self.columns))
        )
        foot = f"<tfoot>{_html_rows(self.foot)}</tfoot>" if self.foot else ""
        notes = f'<p class="notes">{_html(self.notes)}</p>' if self.notes else ""
        kinds = {"texts": self.texts, "sortable": self.sorted_by}
        kind = "".join(f' class="{name}"' for name, is_so in kinds.items() if is_so)
        table = (
            f'<div class="scroll" role="region" aria-labelledby="{name}" tabindex="0">'
            f'<table{kind}><caption><span id="{name}">{_html(self.caption)}</span></caption>'
            f"<thead><tr>{headings}</tr></thead>"
            f"<tbody>{_html_rows(self.rows)}</tbody>{foot}</table></div>{notes}"
        )
        if self.folded:
            return f"<details><summary>{_html(self.caption)}</summary>{table}</details>"
        return table

    def markdown(self) -> str:
        """Return one table, or several if it is wide."""
        table = self._swapped() if self.across else self
        lines = [] if self.folded else [f"**{_markdown(self.caption)}**", ""]
        for part in table._parts():
            lines += [
                _markdown_row([_markdown(part.corner), *map(_markdown, part.columns)]),
                "|---|" + ("---|" if self.texts else "---:|") * len(part.columns),
            ]
            for heading, cells in [*part.rows, *part.foot]:
                lines.append(
                    _markdown_row([_markdown(heading), *(cell.markdown() for cell in cells)])
                )
            lines.append("")
        lines.append(_markdown(self.notes))
        text = "\n".join(lines).strip()
        if self.folded:
            summary = f"<summary>{_html(self.caption)}</summary>"
            return f"<details>{summary}\n\n{text}\n\n</details>"
        return text

    def _of_column(self, place: int) -> str:
        """Return the attributes of a heading, by its place behind that of the rows' headings."""
        if not self.sorted_by or not place:
            return ""
        if self.columns[place - 1] == self.sorted_by:
            return ' aria-sort="descending"'
        words = all(cells[place - 1].order is None for _, cells in self.rows)
        return ' class="words"' if words else ""

    def _swapped(self) -> Table:
        rows = [*self.rows, *self.foot]
        turned = [
            (column, [cells[place] for _, cells in rows])
            for place, column in enumerate(self.columns)
        ]
        return replace(
            self,
            corner=self.across,
            columns=[heading for heading, _ in rows],
            rows=turned,
            foot=(),
        )

    def _parts(self) -> list[Table]:
        """Return the table in parts of about the same number of columns, none of them too wide."""
        if not self.across:
            return [self]
        width = len(self.columns)
        n = max(1, -(-width // MAX_MARKDOWN_COLUMNS))
        ends = [width * part // n for part in range(n + 1)]
        return [
            replace(
                self,
                columns=self.columns[start:end],
                rows=[(heading, cells[start:end]) for heading, cells in self.rows],
            )
            for start, end in pairwise(ends)
        ]


@dataclass(frozen=True)
class Picture:
    """A figure; Markdown leaves it out.

    :param svg: the drawing.
    :param caption: what it shows.
    :param description: text for readers who do not see it.
    """

    svg: str
    caption: str
    description: str

    def html(self, ids: count[int]) -> str:
        """Return a figure that holds the drawing."""
        data = base64.b64encode(self.svg.encode()).decode()
        return (
            f'<figure><img alt="{_html(self.description)}" src="data:image/svg+xml;base64,{data}">'
            f"<figcaption>{_html(self.caption)}</figcaption></figure>"
        )

    def markdown(self) -> str:
        """Return nothing."""
        return ""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of plain text."""

    text: str

    def html(self, ids: count[int]) -> str:
        """Return a paragraph."""
        return f"<p>{_html(self.text)}</p>"

    def markdown(self) -> str:
        """Return one line."""
        return _markdown(self.text)


@dataclass(frozen=True)
class Facts:
    """Terms and their descriptions."""

    facts: Sequence[tuple[str, str]]

    def html(self, ids: count[int]) -> str:
        """Return a list of descriptions."""
        pairs = (f"<dt>{_html(term)}</dt><dd>{_html(fact)}</dd>" for term, fact in self.facts)
        return f"<dl>{''.join(pairs)}</dl>"

    def markdown(self) -> str:
        """Return a list."""
        return "\n".join(f"- **{_markdown(term)}**: {_markdown(fact)}" for term, fact in self.facts)


Block = Table | Picture | Paragraph | Facts


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it.

    :param marks: attributes of the section for a script, without "data-".
    """

    heading: str
    blocks: Sequence[Block]
    marks: Mapping[str, str] = field(default_factory=dict)

    def html(self, number: int, ids: count[int]) -> str:
        """Return a section, with an id made of its number."""
        marks = "".join(f' data-{name}="{_html(value)}"' for name, value in self.marks.items())
        blocks = "\n".join(block.html(ids) for block in self.blocks)
        return (
            f'<section id="section-{number}"{marks}><h2>{_html(self.heading)}</h2>\n'
            f"{blocks}\n</section>"
        )


@dataclass(frozen=True)
class Document:
    """A report.

    :param title: its heading.
    :param sections: what stands under it.
    """

    title: str
    sections: Sequence[Section]

    def html(self, style: str, script: str = "") -> str:
        """Return a page that needs no other file.

        :param style: its CSS.
        :param script: its JavaScript; the page says everything without it.
        """
        ids = count(1)
        links = "".join(
            f'<li><a href="#section-{number}">{_html(section.heading)}</a></li>'
            for number, section in enumerate(self.sections, start=1)
        )
        sections = "\n".join(
            section.html(number, ids) for number, section in enumerate(self.sections, start=1)
        )
        return (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_html(self.title)}</title>\n<style>\n{style}</style>\n</head>\n"
            f"<body>\n<header><h1>{_html(self.title)}</h1>\n"
            f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n'
            f"<main>\n{sections}\n</main>\n"
            + (f"<script>\n{script}</script>\n" if script else "")
            + "</body>\n</html>\n"
        )

    def markdown(self) -> str:
        """Return the same without the pictures, as GitHub shows Markdown."""
        parts = [f"# {_markdown(self.title)}"]
        for section in self.sections:
            parts.append(f"## {_markdown(section.heading)}")
            parts += [block.markdown() for block in section.blocks]
        return "\n\n".join(part for part in parts if part) + "\n"


def _html(text: str) -> str:
    return html.escape(text)


def _html_rows(rows: Sequence[tuple[str, Sequence[TableCell]]]) -> str:
    return "".join(
        f'<tr><th scope="row">{_html(heading)}</th>'
        + "".join(cell.html() for cell in cells)
        + "</tr>\n"
        for heading, cells in rows
    )


def _markdown(text: str) -> str:
    """Return text that Markdown shows as it is.

    Brackets are left alone where they can make no link, so that intervals stay readable.
    """
    line = re.sub(r"\s*[\r\n]\s*", " ", text)
    return re.sub(r"[\\`*_<>|~&$#]|\](?=[(\[:])", r"\\\g<0>", line)


def _markdown_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
