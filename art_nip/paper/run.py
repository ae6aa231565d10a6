"""Makes the tables and figures of the paper, and the page that shows them."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from art_nip.paper.registry import EXHIBITS, Exhibit
from art_nip.paper.setting import Setting
from art_nip.paper.subjects import subjects

PAGE = "paper.md"


def make(exhibits: Sequence[Exhibit], setting: Setting) -> Path:
    """Write every exhibit into the folder as soon as it is made, and the page of all there are.

    :param exhibits: what to make.
    :param setting: of the run; what its folder holds already is not computed again.
    :return: the page.
    """
    setting.out.mkdir(parents=True, exist_ok=True)
    page = setting.out / PAGE
    for exhibit in exhibits:
        made = exhibit.make(setting)
        if made.table:
            (setting.out / f"{exhibit.name}.md").write_text(made.table + "\n", encoding="utf-8")
        for name, figure in made.figures.items():
            stem = f"{exhibit.name}-{name}" if name else exhibit.name
            figure.savefig(setting.out / f"{stem}.png")
        page.write_text(_page(setting), encoding="utf-8")
    return page


def _page(setting: Setting) -> str:
    images = ", ".join(f"{subject.label}: {len(subject.x)}" for subject in subjects(setting))
    parts = [
        "# The paper's tables and figures",
        f"Attacked images: {images}. {platform.machine()}, {date.today()}. Values in brackets "
        "behind ours are the paper's. NIP is fitted on other images (held-out) unless it says "
        "*leaked*: on the benign originals of the attacked images. Attacks do not know of the "
        "defences unless it says *adaptive*.",
    ]
    for exhibit in EXHIBITS:
        table = setting.out / f"{exhibit.name}.md"
        figures = [
            *setting.out.glob(f"{exhibit.name}.png"),
            *sorted(setting.out.glob(f"{exhibit.name}-*.png")),
        ]
        if table.is_file() or figures:
            parts += [f"## {exhibit.title}", f"The paper: {exhibit.claim}"]
            parts += [f"![{exhibit.title}]({figure.name})" for figure in figures]
            parts += [table.read_text(encoding="utf-8").strip()] if table.is_file() else []
    return "\n\n".join(parts) + "\n"
