"""The command `art-nip` and what can be said to it; `art_nip.cli.commands` does what is asked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

from art_nip.cli import commands

# As in art_nip.cli.train, art_nip.zoo and art_nip.benchmark, which are not imported for a `--help`.
DATA = ("mnist", "gtsrb", "cifar10", "imagenette")
MODELS = ("alexnet", "lenet5", "mobilenet", "resnet20", "vgg19", "vgg19-small")
TRAINED_DEFENCES = ("cas", "feature-denoising")
ENGINES = ("local", "ray", "dask")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    :param argv: The arguments; None takes those of the process.
    :return: The exit status: 0; 1 if cells of a benchmark raised; 2 if what was asked for cannot
        be had: a file is missing or wrong, something is to be installed, a folder cannot be
        written. Standard error then says what.
    :raises SystemExit: With status 2, if the arguments are not possible, and 0 after `--help`.
    """
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (ImportError, OSError, ValueError) as error:
        print(f"art-nip: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="art-nip", description="Neuron-level inverse perturbation (NIP) for ART."
    )
    add = parser.add_subparsers(dest="command", required=True)
    _demo(
        add.add_parser(
            "demo",
            help="train LeNet-5 on MNIST digits, attack it, and compare NIP with other defences",
        )
    )
    _train(
        add.add_parser(
            "train", help="train a model of the paper and write its weights, for either framework"
        )
    )
    _benchmark(
        add.add_parser(
            "benchmark", help="run attacks against defences as a YAML file says, and report"
        )
    )
    _report(add.add_parser("report", help="write the report of a benchmark again, finished or not"))
    return parser


def _demo(parser: argparse.ArgumentParser) -> None:
    _add_framework(parser)
    parser.add_argument(
        "--out",
        default="results/demo",
        help="folder for the table and pictures (default: %(default)s)",
    )
    _add_seed(parser, "same seed, same numbers")
    parser.add_argument("--quiet", action="store_true", help="print the table only")
    parser.set_defaults(run=commands.demo)


def _train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", choices=DATA)
    parser.add_argument("model", choices=MODELS)
    _add_framework(parser)
    _add_folder(parser)
    parser.add_argument(
        "--defence", choices=TRAINED_DEFENCES, help="change the model so (default: leave it)"
    )
    parser.add_argument(
        "--adversarial",
        nargs="?",
        type=_eps,
        const="8/255",
        metavar="EPS",
        help="train on attacks within EPS of the images, in L∞ (EPS if left out: %(const)s)",
    )
    parser.add_argument(
        "--attack-steps",
        type=_positive,
        default=1,
        help="steps of these attacks (default: %(default)s)",
    )
    parser.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="weights to start from, of the same model, with the same defence or with none "
        "(default: random ones)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="file to write (default: weights/{data}-{model}.safetensors, with -{defence} and "
        "-adversarial behind the model)",
    )
    parser.add_argument(
        "--epochs", type=_positive, help="passes over the images (default: by data)"
    )
    parser.add_argument("--limit", type=_positive, help="use the first images only")
    _add_seed(parser, "same seed, same weights")
    parser.add_argument("--quiet", action="store_true", help="print the accuracy only")
    parser.set_defaults(run=commands.train)


def _benchmark(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("spec", type=Path, metavar="SPEC", help="the YAML file")
    parser.add_argument(
        "--engine", choices=ENGINES, default="local", help="where to run (default: %(default)s)"
    )
    parser.add_argument(
        "--jobs", type=_positive, default=1, help="tasks to run at once (default: %(default)s)"
    )
    parser.add_argument(
        "--address", help="of a running Ray or Dask cluster (default: start one on this machine)"
    )
    _add_folder(parser)
    parser.add_argument("--limit", type=_positive, help="use this many test images at most")
    parser.add_argument(
        "--dry-run", action="store_true", help="show what is to be run and what is there already"
    )
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.set_defaults(run=commands.benchmark)


def _report(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of the results")
    parser.set_defaults(run=commands.report)


def _add_framework(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--framework",
        choices=("pytorch", "tensorflow"),
        default="pytorch",
        help="what to train in (default: %(default)s)",
    )


def _add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        dest="folder",
        type=Path,
        metavar="FOLDER",
        help="folder of local images: {data}-train and {data}-test, each as .parquet, .npz or a "
        "folder with one folder for each class (default: download them)",
    )


def _add_seed(parser: argparse.ArgumentParser, meaning: str) -> None:
    parser.add_argument("--seed", type=_seed, default=0, help=f"{meaning} (default: %(default)s)")


def _eps(text: str) -> float:
    try:
        eps = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        eps = 0.0
    if not 0 < eps <= 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a number above 0 and at most 1, such as 0.03 or 8/255"
        )
    return eps


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**32 - 1")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
