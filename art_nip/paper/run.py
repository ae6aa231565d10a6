"""Makes the tables and figures of the paper, and the page that shows them."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from art_nip.paper.grids import Setting
from art_nip.paper.registry import PIECES, Piece
from art_nip.paper.subjects import Subject

PAGE = "paper.md"


def make(pieces: Sequence[Piece], subjects: Sequence[Subject], setting: Setting) -> Path:
    """Write every piece into the folder as soon as it is made, and the page of all that are there.

    What a stopped run has computed is not computed again: the benchmarks behind the pieces keep
    their results in `runs/`.

    :return: the page.
    """
    setting.out.mkdir(parents=True, exist_ok=True)
    for piece in pieces:
        made = piece.make(subjects, setting)
        if isinstance(made, str):
            (setting.out / f"{piece.name}.md").write_text(made + "\n", encoding="utf-8")
            continue
        for name, figure in made.items():
            figure.savefig(setting.out / f"{piece.name}-{name}.png")
    page = setting.out / PAGE
    page.write_text(_page(subjects, setting.out), encoding="utf-8")
    return page


def _page(subjects: Sequence[Subject], out: Path) -> str:
    sizes = {subject.title: len(subject.x) for subject in subjects}
    images = ", ".join(f"{title}: {n}" for title, n in sizes.items())
    parts = [
        "# The paper's tables and figures",
        f"Attacked images: {images}. {platform.machine()}, {date.today()}. Values in brackets "
        "behind ours are the paper's. NIP is fitted on other images (held-out) unless it says "
        "*leaked*: on the benign originals of the attacked images. Attacks do not know of the "
        "defences.",
    ]
    for piece in PIECES:
        table = out / f"{piece.name}.md"
        figures = sorted(out.glob(f"{piece.name}-*.png"))
        if table.is_file() or figures:
            parts += [f"## {piece.title}", f"The paper: {piece.claim}"]
            parts += [table.read_text(encoding="utf-8").strip()] if table.is_file() else []
            parts += [f"![{piece.title}]({figure.name})" for figure in figures]
    return "\n\n".join(parts) + "\n"
