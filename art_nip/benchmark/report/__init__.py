"""The report of a benchmark on its folder of results, as a web page and as Markdown."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from art_nip.benchmark.report.results import Results
from art_nip.benchmark.report.sections import document
from art_nip.utils.files import write_bytes

__all__ = ["write"]


def write(folder: str | Path) -> Path:
    """Write `report.html`, one file with its figures in it, and `report.md`, without them.

    A run that is unfinished, or failed in part, is reported as far as it got.

    :param folder: the store of an :class:`art_nip.benchmark.Benchmark`.
    :return: the path of `report.html`.
    :raises FileNotFoundError: if the folder, or a file in it, is not there.
    :raises ValueError: if a file is not as the benchmark writes it, or of another format.
    :raises ImportError: if matplotlib is not installed.
    """
    folder = Path(folder)
    report = document(Results(folder))
    style = files(__package__).joinpath("style.css").read_text(encoding="utf-8")
    pages = {"report.md": report.markdown(), "report.html": report.html(style)}
    for name, text in pages.items():
        write_bytes(folder / name, text.encode())
    return folder / "report.html"
