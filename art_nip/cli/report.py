"""`art-nip report`: writes the report of a folder of results again."""

from __future__ import annotations

import argparse

from art_nip.benchmark import report


def run(arguments: argparse.Namespace) -> int:
    """Write the report and print where it is; return the exit status."""
    print(f"Report: {report.write(arguments.folder)}")
    return 0
