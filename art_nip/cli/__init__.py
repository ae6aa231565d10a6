"""The command `art-nip`: each subcommand is the function `run` in the file of its name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from art_nip.cli.parser import command_line
from art_nip.utils.optional import require

REQUIRED_PACKAGES = {
    "demo": ("run the demo", ("pandas", "pydantic", "mlxtend", "PIL", "matplotlib")),
    "benchmark": ("run benchmarks", ("pandas", "pydantic", "yaml", "matplotlib")),
    "paper": ("make the paper's tables and figures", ("pandas", "matplotlib", "mlxtend")),
    "report": ("write reports", ("matplotlib",)),
}
"""The packages of the extra `benchmark` that each subcommand needs, and for what. They are checked
first, so that a missing package shows at once and not after hours."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    :param argv: the arguments; None takes those of the process.
    :return: the exit status: 0; 1 if cells of a benchmark raised; 2 if the command cannot
    run: a file is missing or wrong, a package must be installed, or a folder cannot be
    written; 130 if it was interrupted (Ctrl-C). Standard error then says why.
    :raises SystemExit: with status 2, if the arguments are not possible, and 0 after `--help`.
    """
    arguments = command_line().parse_args(argv)
    try:
        purpose, packages = REQUIRED_PACKAGES.get(arguments.command, ("", ()))
        for package in packages:
            require(package, to=purpose, install="art-nip[benchmark]")
        # Imported only now: the frameworks take seconds, for which `--help` need not wait.
        from art_nip.utils.frameworks import share_gpus

        share_gpus()
        return int(import_module(f"art_nip.cli.{arguments.command}").run(arguments))
    except (ImportError, OSError, ValueError) as error:
        print(f"art-nip: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("art-nip: interrupted.", file=sys.stderr)
        return 130
