"""The command `art-nip`. It imports what a subcommand needs only when that is asked for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

# As in art_nip.train and art_nip.zoo, which are not imported for a `--help`.
DATA = ("gtsrb", "cifar10", "imagenette")
MODELS = ("alexnet", "lenet5", "mobilenet", "resnet20", "vgg19", "vgg19-small")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    :param argv: The arguments; None takes those of the process.
    :return: The exit status: 0, or 2 where something to be installed is missing or a folder cannot
        be written; one sentence on standard error then says which.
    :raises SystemExit: With status 2, if the arguments are not possible, and 0 after `--help`.
    """
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.run(arguments))
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
    demo.set_defaults(run=_demo)
    train = commands.add_parser(
        "train",
        help="train a model of the paper and write its weights, for either framework",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    train.add_argument("data", choices=DATA)
    train.add_argument("model", choices=MODELS)
    train.add_argument(
        "--framework", choices=("pytorch", "tensorflow"), default="pytorch", help="what to train in"
    )
    train.add_argument(
        "--data-folder",
        type=Path,
        required=True,
        help="folder of {data}-train.parquet and {data}-test.parquet",
    )
    train.add_argument(
        "--out", type=Path, help="file to write (default: weights/{data}-{model}.safetensors)"
    )
    train.add_argument("--epochs", type=_positive, help="passes over the images (default: by data)")
    train.add_argument("--limit", type=_positive, help="use the first images only")
    train.add_argument("--seed", type=_seed, default=0, help="same seed, same weights")
    train.add_argument("--quiet", action="store_true", help="print the accuracy only")
    train.set_defaults(run=_train)
    return parser


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to 2**32 - 1")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def _train(arguments: argparse.Namespace) -> int:
    from art_nip import train

    name = f"{arguments.data}-{arguments.model}.safetensors"
    out = arguments.out or Path("weights") / name
    reached = train.run(
        arguments.data,
        arguments.model,
        folder=arguments.data_folder,
        out=out,
        framework=arguments.framework,
        epochs=arguments.epochs,
        seed=arguments.seed,
        limit=arguments.limit,
        verbose=not arguments.quiet,
    )
    print(f"accuracy on {reached.n:,} test images: {reached}")
    print(f"Written to {out}")
    return 0


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
