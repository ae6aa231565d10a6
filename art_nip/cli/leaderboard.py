"""`art-nip leaderboard`: writes one page over many folders of results."""

from __future__ import annotations

import argparse

from art_nip.benchmark.report import leaderboard


def run(arguments: argparse.Namespace) -> int:
    """Write the page and print where it is and what to mind; return the exit status."""
    for remark in leaderboard.write(arguments.folders, arguments.out):
        print(remark)
    print(f"Leaderboard: {arguments.out}")
    return 0
