"""`art-nip benchmark`: runs the benchmark of a spec file, or shows its cells."""

from __future__ import annotations

import argparse
import sys
import warnings

from art_nip.benchmark import FailedCellsWarning
from art_nip.benchmark.analysis.failures import causes
from art_nip.benchmark.spec import Spec
from art_nip.cli.tables import robust_accuracies, success_rates, worst_cases


def run(arguments: argparse.Namespace) -> int:
    """Run the benchmark, print its tables, and return the exit status: 1 if cells failed."""
    if arguments.address and arguments.engine == "local":
        raise ValueError("--address is that of a cluster: add --engine ray or --engine dask.")
    spec = Spec.load(arguments.spec)
    benchmark, x, y, bank = spec.benchmark(
        data=arguments.folder,
        limit=arguments.limit,
        engine=arguments.engine,
        jobs=arguments.jobs,
        address=arguments.address,
        track=None if arguments.dry_run else arguments.track,
        verbose=not arguments.quiet,
    )
    if arguments.dry_run:
        plan = benchmark.plan(x, y, bank=bank)
        print(plan.to_string(index=False))
        print(f"{plan['cached'].sum()} of {len(plan)} cells are in {spec.store} already.")
        return 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FailedCellsWarning)  # told below
        table = benchmark.run(x, y, bank=bank)
    print(success_rates(table))
    print(robust_accuracies(table))
    print(worst_cases(table))
    print(f"Table: {spec.store / 'table.csv'}")
    print(f"Report: {benchmark.report()}")
    failed = causes(table.itertuples())
    for cause in failed:
        print(f"art-nip: {cause}", file=sys.stderr)
    return 1 if failed else 0
