"""Counts how often the host and a device meet."""

import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import torch

from tests.helpers import SIMULATED

UPLOAD, DOWNLOAD, WAIT = "upload", "download", "wait"
"""Host to device; device to host; and the host waits until the device has computed a value."""


@dataclass
class Meetings:
    """What was counted: kinds of meetings, and the lines of code that caused them.

    A download is a wait too, but counts as a download only. On a GPU, all that PyTorch tells of are
    waits: for transfers, and for values.
    """

    lines: Counter[tuple[str, str]] = field(default_factory=Counter)

    def count(self, kind: str) -> int:
        """Return the number of meetings of a kind."""
        return sum(times for (of, _), times in self.lines.items() if of == kind)

    def __str__(self) -> str:
        return "".join(
            f"\n{times} × {kind}: {line}" for (kind, line), times in self.lines.most_common()
        )


_counting: list[Meetings] = []


@contextmanager
def counted() -> Iterator[Meetings]:
    """Count the meetings of host and device within the context."""
    meetings = Meetings()
    _counting.append(meetings)
    try:
        with nullcontext() if SIMULATED else _waits_of_a_gpu():
            yield meetings
    finally:
        _counting.remove(meetings)


@contextmanager
def _waits_of_a_gpu() -> Iterator[None]:
    """Count what PyTorch warns of: operations that make the host wait."""
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for warning in seen:
        if "called a synchronizing" in str(warning.message):
            for meetings in _counting:
                meetings.lines[WAIT, f"{warning.filename}:{warning.lineno}"] += 1


def note(kind: str) -> None:
    """Count a meeting of a kind."""
    for meetings in _counting:
        meetings.lines[kind, _line()] += 1


def _line() -> str:
    """Return the innermost line of art_nip or of ART that is running."""
    for frame in reversed(traceback.extract_stack()):
        for package in ("/art_nip/", "/art/"):
            before, found, name = frame.filename.rpartition(package)
            if found and before:
                return f"{package[1:]}{name}:{frame.lineno} {frame.line}"
    return "elsewhere"
