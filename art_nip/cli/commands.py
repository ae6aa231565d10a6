"""What the subcommands of `art-nip` do. Each imports what it needs, and returns the exit status."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

EXTRA = "art-nip[benchmark]"


def demo(arguments: argparse.Namespace) -> int:
    """Run the demo and print its table."""
    from art_nip.cli import demo

    measurements = demo.run(
        arguments.framework, arguments.out, seed=arguments.seed, verbose=not arguments.quiet
    )
    print(demo.table(measurements))
    if not arguments.quiet:
        print(f"\n{demo.EXPLANATION}")
        print(f"Written to {arguments.out}: table.csv, examples.png, influence.png")
    return 0


def train(arguments: argparse.Namespace) -> int:
    """Train a model and print its accuracy."""
    from art_nip.cli import train
    from art_nip.zoo.classifiers import file_name

    adversarial = arguments.adversarial is not None
    name = file_name(arguments.data, arguments.model, arguments.defence, adversarial)
    out = arguments.out or Path("weights") / name
    reached = train.run(
        arguments.data,
        arguments.model,
        out=out,
        folder=arguments.folder,
        framework=arguments.framework,
        defence=arguments.defence,
        adversarial=arguments.adversarial,
        attack_steps=arguments.attack_steps,
        start=arguments.start,
        epochs=arguments.epochs,
        seed=arguments.seed,
        limit=arguments.limit,
        verbose=not arguments.quiet,
    )
    print(f"accuracy on {reached.n:,} test images: {reached}")
    print(f"Written to {out}")
    return 0


def benchmark(arguments: argparse.Namespace) -> int:
    """Run what a spec file says, or show what there is to run."""
    if arguments.address and arguments.engine == "local":
        raise ValueError("--address is that of a cluster: add --engine ray or --engine dask.")
    from art_nip.utils.optional import require

    for module in ("pandas", "pydantic", "yaml"):
        require(module, to="run benchmarks", install=EXTRA)
    from art_nip.benchmark.spec import Spec

    spec = Spec.load(arguments.spec)
    benchmark, x, y, bank = spec.benchmark(
        data=arguments.folder,
        limit=arguments.limit,
        engine=arguments.engine,
        jobs=arguments.jobs,
        address=arguments.address,
        verbose=not arguments.quiet,
    )
    if arguments.dry_run:
        plan = benchmark.plan(x, y, bank=bank)
        print(plan.to_string(index=False))
        print(f"{plan['cached'].sum()} of {len(plan)} cells are in {spec.store} already.")
        return 0
    table = benchmark.run(x, y, bank=bank)
    print(success_rates(table))
    print(worst_cases(table))
    print(f"Table: {spec.store / 'table.csv'}")
    print(f"Report: {benchmark.report()}")
    failed = table[table["metric"] == "error"]
    for (attack, error), cells in failed.groupby(["attack", "error"], sort=False):
        print(f"art-nip: {attack}: {error} ({len(cells)} cells)", file=sys.stderr)
    return 1 if len(failed) else 0


def success_rates(table: pd.DataFrame) -> str:
    """Return the defence success rates of a benchmark as text: attacks down, defences across.

    :param table: of `Benchmark.run`.
    """
    rates = table[table["metric"] == "dsr"]
    if rates.empty:
        return "There is no defence success rate: no oblivious attack met a defence."
    shown = rates.assign(
        text=[_percent(row.value, row.low, row.high) for row in rates.itertuples()]
    )
    texts = []
    for protocol, cells in shown.groupby("protocol", sort=False):
        # Pivoting sorts; attacks and defences have the order of the spec file.
        square = (
            cells.pivot(index="attack", columns="defence", values="text")
            .reindex(index=cells["attack"].unique(), columns=cells["defence"].unique())
            .rename_axis(index=None, columns=None)
            .fillna("-")
        )
        texts.append(f"Defence success rate in %, {protocol}, oblivious\n{square.to_string()}\n")
    return "\n".join(texts)


def worst_cases(table: pd.DataFrame) -> str:
    """Return the worst-case accuracies of a benchmark as text, if there are any.

    :param table: of `Benchmark.run`.
    """
    lines = []
    for (suite, protocol), rows in table[table["metric"] == "worst_case_accuracy"].groupby(
        ["attack", "protocol"], sort=False
    ):
        lines.append(f"Worst-case accuracy in %, {protocol}, suite {suite!r}")
        lines += [
            f"{row.defence}  {_percent(row.value, row.low, row.high)}" for row in rows.itertuples()
        ]
        lines.append("")
    return "\n".join(lines)


def _percent(value: float, low: float, high: float) -> str:
    """Return a rate and its interval, or "-" for a rate of nothing."""
    if math.isnan(value):
        return "-"
    return f"{100 * value:.0f} [{100 * low:.0f}, {100 * high:.0f}]"


def report(arguments: argparse.Namespace) -> int:
    """Write the report of a folder of results again."""
    from art_nip.utils.optional import require

    require("pandas", to="write reports", install=EXTRA)
    from art_nip.benchmark import report

    print(f"Report: {report.write(arguments.folder)}")
    return 0
