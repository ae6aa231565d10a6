"""The command `art-nip`. It imports what a subcommand needs only when that is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    :param argv: The arguments; None takes those of the process.
    :return: The exit status: 0, or 2 where something to be installed is missing or a folder cannot
        be written; one sentence on standard error then says which.
    :raises SystemExit: With status 2, if the arguments are not possible, and 0 after `--help`.
    """
    arguments = _parser().parse_args(argv)
    try:
        return _demo(arguments)
    except (ImportError, OSError) as error:
        print(f"art-nip: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="art-nip", description="Neuron-level inverse perturbation (NIP) for ART."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser(
        "demo",
        help="train LeNet-5 on MNIST digits, attack it, and compare NIP with other defences",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    demo.add_argument(
        "--framework", choices=("pytorch", "tensorflow"), default="pytorch", help="what to train in"
    )
    demo.add_argument("--out", default="results/demo", help="folder for the table and pictures")
    demo.add_argument("--seed", type=_seed, default=0, help="same seed, same numbers")
    demo.add_argument("--quiet", action="store_true", help="print the table only")
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**32 - 1")
    return int(text)


def _demo(arguments: argparse.Namespace) -> int:
    from art_nip import demo

    measurements = demo.run(
        arguments.framework, arguments.out, seed=arguments.seed, verbose=not arguments.quiet
    )
    print(demo.table(measurements))
    if not arguments.quiet:
        print(f"\n{demo.EXPLANATION}")
        print(f"Written to {arguments.out}: table.csv, examples.png, influence.png")
    return 0
