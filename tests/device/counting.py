"""Counts how often the host and the simulated device meet."""

import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

UPLOAD, DOWNLOAD, WAIT = "upload", "download", "wait"
"""Host to device; device to host; and the host waits until the device has computed a value."""


@dataclass
class Meetings:
    """What was counted: kinds of meetings, and the lines of code that caused them.

    A download is a wait too, but counts as a download only.
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
        yield meetings
    finally:
        _counting.remove(meetings)


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
