"""`art-nip paper`: makes the tables and figures of the NIP paper."""

from __future__ import annotations

import argparse
from dataclasses import replace

from art_nip.paper.grids import Setting
from art_nip.paper.registry import PIECES
from art_nip.paper.run import make
from art_nip.paper.subjects import REDUCED, STAND_IN, TINY, subject
from art_nip.utils.validation import check_choice


def run(arguments: argparse.Namespace) -> int:
    """Make the pieces that are asked for, and return the exit status."""
    names = [piece.name for piece in PIECES]
    for name in arguments.only:
        check_choice("table or figure", name, names)
    pieces = [piece for piece in PIECES if piece.name in (arguments.only or names)]
    scale = TINY if arguments.tiny else REDUCED
    scale = replace(
        scale,
        images=arguments.images or scale.images,
        bank=arguments.bank or scale.bank,
    )
    setting = Setting(
        arguments.out,
        arguments.weights,
        arguments.framework,
        jobs=arguments.jobs,
        verbose=not arguments.quiet,
    )
    subjects = [
        subject(
            name,
            scale,
            weights=arguments.weights,
            data=arguments.folder,
            framework=arguments.framework,
        )
        for name in ([STAND_IN] if arguments.tiny else arguments.models)
    ]
    print(f"Written to {make(pieces, subjects, setting)}")
    return 0
