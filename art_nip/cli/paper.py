"""`art-nip paper`: makes the paper's tables and figures, and goes on where it stopped."""

from __future__ import annotations

import argparse
from pathlib import Path

from art_nip.paper import tiny
from art_nip.paper.registry import EXHIBITS
from art_nip.paper.run import make
from art_nip.paper.setting import Setting
from art_nip.utils.frameworks import Framework
from art_nip.utils.optional import require

LIMIT = 500


def run(arguments: argparse.Namespace) -> int:
    """Make what was asked for, print where it is, and return the exit status: 1 if cells failed."""
    framework = Framework(arguments.framework)
    require(
        framework.package,
        to=f"make the paper's tables in {framework.label}",
        install=f"art-nip[{framework}]",
    )
    setting = Setting(
        out=arguments.out or Path("results/paper-tiny" if arguments.tiny else "results/paper"),
        weights=arguments.weights,
        data=arguments.folder,
        models=tuple(arguments.models) if arguments.models else None,
        limit=arguments.limit or (tiny.LIMIT if arguments.tiny else LIMIT),
        bank=arguments.bank,
        tiny=arguments.tiny,
        framework=arguments.framework,
        seed=arguments.seed,
        jobs=arguments.jobs,
        verbose=not arguments.quiet,
    )
    chosen = [
        exhibit for exhibit in EXHIBITS if not arguments.only or exhibit.name in arguments.only
    ]
    print(f"Written to {make(chosen, setting)}")
    return 1 if setting.failed else 0
