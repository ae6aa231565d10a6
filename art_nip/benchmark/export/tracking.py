"""Logs the numbers of a folder of results with MLflow, or as events that TensorBoard shows."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from art_nip.benchmark.report.results import Results
from art_nip.benchmark.schema.description import AttackRecord, DefenceRecord
from art_nip.benchmark.schema.words import ACCURACY_AT
from art_nip.utils.optional import require
from art_nip.utils.validation import check_choice

INSTALL = "art-nip[track]"

EXPERIMENT = "art-nip"
"""MLflow's experiment, unless the environment variable MLFLOW_EXPERIMENT_NAME names another."""

ARTIFACTS = ("report.html", "report.md", "table.csv", "checklist.json", "entry.json")
"""The files that are logged with MLflow, as far as they are there."""

METRICS_AT_ONCE, PARAMETERS_AT_ONCE = 1000, 100
"""MLflow's limits for one request."""

LONGEST_LABEL, LONGEST_PARAMETER = 80, 6000
"""Characters of labels in names, and of parameters, that both trackers take."""


def check(tracker: str) -> None:
    """Find out before the work begins whether a tracker can be used.

    :param tracker: one of `TRACKERS`.
    :raises ValueError: if there is no such tracker.
    :raises ImportError: if its package is not installed.
    :raises OSError: if MLflow cannot open its store.
    """
    check_choice("tracker", tracker, list(TRACKERS))
    require("matplotlib", to="write the report that is logged", install="art-nip[benchmark]")
    if tracker == "mlflow":
        _mlflow(lambda client: client.get_experiment_by_name(_experiment()))
    else:
        _tensorboardx()


def track(folder: str | Path, tracker: str) -> str:
    """Log a folder of results, finished or not.

    Names of numbers are THREAT/PROTOCOL/ATTACK/DEFENCE/METRIC, with `_low`, `_high` and `_n` behind
    them for the interval and the number of images. In labels, what the trackers do not take in
    names is replaced by "_".

    :param folder: the store of a benchmark.
    :param tracker: "mlflow" logs a run to where MLflow's own variables say (MLFLOW_TRACKING_URI),
        with the parameters and `ARTIFACTS`; "tensorboard" writes events into `tensorboard/` in the
        folder, in place of those of before.
    :return: where it was logged.
    :raises ValueError: if there is no such tracker, or the folder is damaged.
    :raises ImportError: if the tracker's package is not installed.
    :raises OSError: if MLflow cannot log.
    """
    check_choice("tracker", tracker, list(TRACKERS))
    return TRACKERS[tracker](Path(folder))


def figures(results: Results) -> Iterator[tuple[str, float]]:
    """Yield the name and value of every number of the table; there is none where it has NaN."""
    rows = [*results.rows, *results.points, *results.turns]
    attacks = _names(row.attack for row in rows)
    defences = _names(row.defence for row in rows)
    for row in rows:
        if row.metric == "error":
            continue
        metric = row.metric
        if metric == ACCURACY_AT:
            metric += f"_{row.norm}_{row.eps:.3g}"
        name = "/".join(
            [row.threat, row.protocol, attacks[row.attack], defences[row.defence], metric]
        )
        values = {"": row.value, "_low": row.low, "_high": row.high, "_n": float(row.n)}
        for suffix, value in values.items():
            if not math.isnan(value):
                yield name + suffix, value


def parameters(results: Results) -> dict[str, str]:
    """Return what was run, by name: model, images, and the parameters of attacks and defences."""
    run = results.run
    facts = {
        "model": run.model,
        "data": run.data,
        "images": run.images,
        "n_images": run.n_images,
        "n_bank": run.n_bank,
        "seed": run.seed,
        "date": run.date,
        "machine": run.machine,
        "protocols": ", ".join(map(str, run.protocols)),
        "threats": ", ".join(map(str, run.threats)),
    }
    found = {name: str(value) for name, value in facts.items() if value is not None}
    found |= {f"versions/{_name(name)}": value for name, value in run.versions.items()}
    kinds: dict[str, list[AttackRecord] | list[DefenceRecord]] = {
        "attacks": run.attacks,
        "defences": run.defences,
    }
    for kind, entries in kinds.items():
        names = _names(entry.label for entry in entries)
        for entry in entries:
            given: dict[str, Any] = {"name": entry.name, **entry.parameters}
            if isinstance(entry, AttackRecord) and entry.limit is not None:
                given["limit"] = entry.limit
            for name, value in given.items():
                found[f"{kind}/{names[entry.label]}/{_name(name)}"] = str(value)
    return {name: value[:LONGEST_PARAMETER] for name, value in found.items()}


def _names(labels: Iterable[str]) -> Mapping[str, str]:
    """Return a name for each label, as the trackers take them; no two labels have the same."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for label in dict.fromkeys(labels):
        name = _name(label)
        choices = (name if n == 1 else f"{name}_{n}" for n in count(1))
        names[label] = next(choice for choice in choices if choice not in taken)
        taken.add(names[label])
    return names


def _name(label: str) -> str:
    name = re.sub(r"[^-\w.]", "_", label)[:LONGEST_LABEL]
    return name if name.strip(".") else "_"  # MLflow makes folders of names


# MLflow


def _experiment() -> str:
    return os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)


def _mlflow(use: Callable[[Any], Any]) -> Any:
    """Return what a function does with MLflow's client."""
    mlflow = require("mlflow", to="log with MLflow", install=INSTALL)
    try:
        return use(mlflow.MlflowClient())
    except mlflow.exceptions.MlflowException as error:
        text = " ".join(str(error).split())
        raise OSError(
            f"MLflow cannot log to {mlflow.get_tracking_uri()} ({text}). Set MLFLOW_TRACKING_URI "
            "to a store that it can open, or leave tracking out."
        ) from error


def _to_mlflow(folder: Path) -> str:
    results = Results(folder)

    def log(client: Any) -> str:
        entities = require("mlflow.entities", to="log with MLflow", install=INSTALL)
        found = client.get_experiment_by_name(_experiment())
        experiment = (
            client.create_experiment(_experiment()) if found is None else found.experiment_id
        )
        run = client.create_run(experiment, run_name=results.run.name).info.run_id
        try:
            now = int(time.time() * 1000)
            numbers = [entities.Metric(name, value, now, 0) for name, value in figures(results)]
            for part in _parts(numbers, METRICS_AT_ONCE):
                client.log_batch(run, metrics=part)
            given = [entities.Param(name, value) for name, value in parameters(results).items()]
            for part in _parts(given, PARAMETERS_AT_ONCE):
                client.log_batch(run, params=part)
            for name in ARTIFACTS:
                if (folder / name).is_file():
                    client.log_artifact(run, str(folder / name))
        except BaseException:
            client.set_terminated(run, "FAILED")
            raise
        client.set_terminated(run)
        return f"MLflow, experiment {_experiment()!r}, run {run}"

    return str(_mlflow(log))


def _parts(items: list[Any], size: int) -> Iterator[list[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


# TensorBoard


def _tensorboardx() -> Any:
    return require("tensorboardX", to="write events for TensorBoard", install=INSTALL)


def _to_tensorboard(folder: Path) -> str:
    results, logs = Results(folder), folder / "tensorboard"
    writer_of = _tensorboardx().SummaryWriter
    # TensorBoard would show events of before beside the new ones.
    for events in logs.glob("events.out.tfevents.*"):
        events.unlink()
    with writer_of(str(logs)) as writer:
        for name, value in figures(results):
            writer.add_scalar(name, value, 0)
        lines = [f"- **{name}**: {value}" for name, value in parameters(results).items()]
        writer.add_text("parameters", "\n".join(lines), 0)
        report = folder / "report.md"
        if report.is_file():
            writer.add_text("report", report.read_text(encoding="utf-8"), 0)
    return str(logs)


TRACKERS: dict[str, Callable[[Path], str]] = {
    "mlflow": _to_mlflow,
    "tensorboard": _to_tensorboard,
}
"""The trackers by name."""
