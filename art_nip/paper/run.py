"""Makes the tables and figures of the paper, and the page that shows them."""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from art_nip.paper.registry import EXHIBITS, Exhibit
from art_nip.paper.setting import Setting
from art_nip.paper.subjects import subjects
from art_nip.utils.files import check_writable, write_bytes

PAGE = "paper.md"
MADE = "made.json"
"""What each exhibit of the folder was made of, and its figures."""


def make(exhibits: Sequence[Exhibit], setting: Setting) -> Path:
    """Write every exhibit into the folder as soon as it is made, and the page of all there are.

    :param exhibits: what to make.
    :param setting: of the run; what its folder holds already is not computed again.
    :return: the page.
    :raises OSError: if the folder cannot be made or written.
    :raises ValueError: if its record of what was made is damaged.
    """
    page, made_of = setting.out / PAGE, setting.out / MADE
    check_writable(page)
    setting.out.mkdir(parents=True, exist_ok=True)
    _records(made_of)  # says now that it is damaged, and not after the first exhibit
    for exhibit in exhibits:
        made = exhibit.make(setting)
        table = setting.out / f"{exhibit.name}.md"
        if made.table:
            table.write_text(made.table + "\n", encoding="utf-8")
        else:
            table.unlink(missing_ok=True)  # of another run
        figures = {
            f"{exhibit.name}-{name}.png" if name else f"{exhibit.name}.png": figure
            for name, figure in made.figures.items()
        }
        for name, figure in figures.items():
            figure.savefig(setting.out / name)
        records = _records(made_of)
        records[exhibit.name] = {**_of(setting), "figures": sorted(figures)}
        write_bytes(made_of, json.dumps(records, indent=1).encode())
        page.write_text(_page(setting, records), encoding="utf-8")
    return page


def _of(setting: Setting) -> dict[str, Any]:
    """Return what the exhibits of a run are made of: for its page, and all that determines it."""
    models = subjects(setting)
    banks = [len(subject.bank[1]) for subject in models]
    return {
        "images": ", ".join(f"{subject.label}: {len(subject.x)}" for subject in models),
        "run": f"{setting.framework}, seed {setting.seed}, {max(banks):,} images to fit on, "
        f"{platform.machine()}, {date.today()}",
        "identity": [subject.with_bank for subject in models],
    }


def _records(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        records: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for record in records.values():
            _ = [record[entry] for entry in ("images", "run", "identity", "figures")]
    except (ValueError, AttributeError, TypeError, KeyError) as error:
        raise ValueError(f"{path} is damaged. Delete it, and run again.") from error
    return records


def _page(setting: Setting, records: dict[str, Any]) -> str:
    now = _of(setting)
    parts = [
        "# The paper's tables and figures",
        f"Attacked images: {now['images']}. {now['run']}. Values in brackets behind ours are the "
        "paper's. NIP is fitted on other images (held-out) unless it says *leaked*: on the benign "
        "originals of the attacked images. Attacks do not know of the defences unless it says "
        "*adaptive*.",
    ]
    for exhibit in EXHIBITS:
        record = records.get(exhibit.name)
        table = setting.out / f"{exhibit.name}.md"
        if record is None or not (table.is_file() or record["figures"]):
            continue
        parts += [f"## {exhibit.title}", f"The paper: {exhibit.claim}"]
        if record["identity"] != now["identity"]:
            parts.append(
                f"**Made in another run**, of other images or models: {record['images']}. "
                f"{record['run']}."
            )
        parts += [f"![{exhibit.title}]({name})" for name in record["figures"]]
        parts += [table.read_text(encoding="utf-8").strip()] if table.is_file() else []
    return "\n\n".join(parts) + "\n"
