"""The arguments of the command `art-nip`. They are parsed before anything else is imported."""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

# The same as in art_nip.cli.train, art_nip.zoo, art_nip.benchmark and art_nip.paper; tests compare
# them.
DATA = ("mnist", "gtsrb", "cifar10", "imagenette")
MODELS = ("alexnet", "lenet5", "mobilenet", "resnet20", "vgg19", "vgg19-small")
MODEL_DEFENCES = ("cas", "feature-denoising")
ENGINES = ("local", "ray", "dask")
TRACKERS = ("mlflow", "tensorboard")
EXHIBITS = (
    *("ladder", "table-1", "table-2", "table-3", "table-4"),
    *("figure-2", "figure-7", "figure-8", "figure-9", "figure-10", "figure-11", "figure-12"),
    *("figure-13", "figure-14", "figure-15", "figure-18"),
)
PAPER_MODELS = (
    *("cifar10-vgg19", "cifar10-alexnet", "gtsrb-lenet5", "gtsrb-resnet20"),
    *("imagenette-vgg19", "imagenette-mobilenet"),
)


def command_line() -> argparse.ArgumentParser:
    """Return the parser of the command line, with all subcommands."""
    whole = argparse.ArgumentParser(
        prog="art-nip", description="Neuron-level inverse perturbation (NIP) for ART."
    )
    add = whole.add_subparsers(dest="command", required=True)
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
    _paper(add.add_parser("paper", help="make the paper's tables and figures"))
    _report(add.add_parser("report", help="write the report of a benchmark again, finished or not"))
    _leaderboard(
        add.add_parser("leaderboard", help="write one sortable page over many folders of results")
    )
    return whole


def _demo(command: argparse.ArgumentParser) -> None:
    _add_framework(command)
    command.add_argument(
        "--out",
        type=Path,
        default=Path("results/demo"),
        help="folder for tables, report and pictures (default: %(default)s)",
    )
    _add_seed(command, "same seed, same numbers")
    command.add_argument("--quiet", action="store_true", help="print the tables only")


def _train(command: argparse.ArgumentParser) -> None:
    command.add_argument("data", choices=DATA)
    command.add_argument("model", choices=MODELS)
    _add_framework(command)
    _add_folder(command)
    command.add_argument(
        "--defence", choices=MODEL_DEFENCES, help="change the model so (default: leave it)"
    )
    command.add_argument(
        "--adversarial",
        nargs="?",
        type=_eps,
        const="8/255",
        metavar="EPS",
        help="train on attacks within EPS of the images, in L∞ (EPS if left out: %(const)s)",
    )
    command.add_argument(
        "--attack-steps",
        type=_positive,
        default=1,
        help="steps of these attacks (default: %(default)s)",
    )
    command.add_argument(
        "--start",
        type=Path,
        metavar="FILE",
        help="weights to start from: of the same model, with the same defence or with none, or of "
        "one with the same convolutional part, which alone is then taken (default: random ones)",
    )
    command.add_argument(
        "--out",
        type=Path,
        help="file to write (default: weights/{data}-{model}.safetensors, with -{defence} and "
        "-adversarial behind the model)",
    )
    command.add_argument(
        "--side",
        type=_positive,
        help="pixels that height and width of the images are brought to (default: as they are)",
    )
    command.add_argument(
        "--epochs", type=_positive, help="passes over the images (default: by data)"
    )
    command.add_argument("--limit", type=_positive, help="use the first images only")
    _add_seed(command, "same seed, same weights")
    command.add_argument("--quiet", action="store_true", help="print the accuracy only")


def _benchmark(command: argparse.ArgumentParser) -> None:
    command.add_argument("spec", type=Path, metavar="SPEC", help="the YAML file")
    command.add_argument(
        "--engine", choices=ENGINES, default="local", help="where to run (default: %(default)s)"
    )
    command.add_argument(
        "--jobs", type=_positive, default=1, help="tasks to run at once (default: %(default)s)"
    )
    command.add_argument(
        "--address", help="of a running Ray or Dask cluster (default: start one on this machine)"
    )
    _add_folder(command)
    command.add_argument("--limit", type=_positive, help="use this many test images at most")
    command.add_argument(
        "--track", choices=TRACKERS, help="log every number of the table there (default: nowhere)"
    )
    command.add_argument(
        "--dry-run", action="store_true", help="show what is to be run and what is there already"
    )
    command.add_argument("--quiet", action="store_true", help="show no progress")


def _paper(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--only",
        nargs="+",
        choices=EXHIBITS,
        metavar="NAME",
        help=f"which tables and figures (default: all): {', '.join(EXHIBITS)}",
    )
    command.add_argument(
        "--models",
        nargs="+",
        choices=PAPER_MODELS,
        metavar="NAME",
        help=f"of which models (default: those that have weights): {', '.join(PAPER_MODELS)}",
    )
    command.add_argument(
        "--tiny",
        action="store_true",
        help="a small model on MNIST digits, trained in seconds, instead of the paper's",
    )
    command.add_argument(
        "--limit", type=_positive, help="attack this many images of each model at most"
    )
    command.add_argument(
        "--bank",
        type=_positive,
        metavar="N",
        help="fit defences on N benign images of the training part (default: 1000)",
    )
    command.add_argument(
        "--out",
        type=Path,
        help="folder for tables, figures and results, which is continued (default: results/paper, "
        "and with --tiny results/paper-tiny)",
    )
    command.add_argument(
        "--weights",
        type=Path,
        default=Path("weights"),
        metavar="FOLDER",
        help="of trained weights, {data}-{model}.safetensors (default: %(default)s)",
    )
    _add_folder(command)
    _add_framework(command)
    _add_seed(command, "same seed, same numbers")
    command.add_argument(
        "--jobs", type=_positive, default=1, help="tasks to run at once (default: %(default)s)"
    )
    command.add_argument("--quiet", action="store_true", help="show no progress")


def _report(command: argparse.ArgumentParser) -> None:
    command.add_argument("folder", type=Path, metavar="FOLDER", help="of the results")


def _leaderboard(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "folders", type=Path, nargs="+", metavar="FOLDER", help="of the results of a benchmark"
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("leaderboard.html"),
        help="file to write (default: %(default)s)",
    )


def _add_framework(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--framework",
        choices=("pytorch", "tensorflow"),
        default="pytorch",
        help="what to train in (default: %(default)s)",
    )


def _add_folder(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--data",
        dest="folder",
        type=Path,
        metavar="FOLDER",
        help="folder of local images: {data}-train and {data}-test, each as .parquet, .npz or a "
        "folder with one folder for each class (default: download them)",
    )


def _add_seed(command: argparse.ArgumentParser, meaning: str) -> None:
    command.add_argument("--seed", type=_seed, default=0, help=f"{meaning} (default: %(default)s)")


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
