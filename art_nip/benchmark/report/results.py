"""A folder of results as its report reads it: what was run, the measurements, example images."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.benchmark.resolve import BENIGN
from art_nip.benchmark.store import FORMAT
from art_nip.utils.files import reading
from art_nip.utils.validation import clip_range

AGAIN = "Run `art-nip benchmark` with this folder as its store: it goes on where it was."
KEYS = (
    *("attacks", "defences", "protocols", "threats", "cells"),
    *("name", "channels_first", "clip_values"),
)


@dataclass(frozen=True)
class Row:
    """A row of table.csv; see :meth:`art_nip.benchmark.Benchmark.run`."""

    attack: str
    defence: str
    protocol: str
    threat: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    eps: float
    error: str


Measured = Mapping[tuple[str, str, str], Row]
"""Rows of one protocol and threat, by attack, defence and metric."""


@dataclass(frozen=True)
class Sweep:
    """One attack with several ε.

    :param name: of the attack.
    :param sizes: ε, by the label in the table.
    """

    name: str
    sizes: dict[str, float]


@dataclass(frozen=True)
class Examples:
    """A few benign images and what attacks made of them, in [0, 1]."""

    benign: npt.NDArray[np.float32]
    adversarial: dict[str, npt.NDArray[np.float32]]
    channels_first: bool


class Results:
    """What is in a folder of results.

    :param folder: the folder.
    :raises FileNotFoundError: if it, or a file in it, is not there.
    :raises ValueError: if a file is not as `art-nip benchmark` writes it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FileNotFoundError(
                f"There is no folder {folder}: give one that `art-nip benchmark` has written to."
            )
        self._folder = folder
        self.run = _description(_present(folder / "benchmark.json"))
        self.rows = list(_rows(_present(folder / "table.csv")))
        with reading(_present(folder / "images.safetensors"), AGAIN) as file:
            self.image_shape = tuple(file.get_slice("x").get_shape()[1:])
            self._classes = file.get_tensor("y")

    @property
    def attacks(self) -> list[str]:
        """The labels of all attacks, in the order of the run."""
        return [each for each in self._labels("attack") if each not in (BENIGN, *self.suites)]

    @property
    def suites(self) -> list[str]:
        """The labels of the adaptive suites, whose rows hold the worst case of several attacks."""
        found = [each["suite"] for each in self.run["attacks"] if each.get("suite")]
        return list(dict.fromkeys(found))

    @property
    def alone(self) -> list[str]:
        """The labels of the attacks that belong to no suite."""
        members = {each["label"] for each in self.run["attacks"] if each.get("suite")}
        return [each for each in self.attacks if each not in members]

    @property
    def defences(self) -> list[str]:
        """The labels of all defences, in the order of the run."""
        return self._labels("defence")

    @property
    def settings(self) -> list[tuple[str, str]]:
        """All (threat, protocol) of the run, or of the table."""
        asked = [(threat, each) for threat in self.run["threats"] for each in self.run["protocols"]]
        return list(dict.fromkeys([*asked, *((row.threat, row.protocol) for row in self.rows)]))

    @property
    def sizes(self) -> dict[str, float]:
        """ε of the attacks that have one."""
        sizes = {attack["label"]: attack.get("eps") for attack in self.run["attacks"]}
        return {label: float(eps) for label, eps in sizes.items() if eps is not None}

    def rows_of(self, threat: str, protocol: str) -> list[Row]:
        """Return the rows of a threat and a protocol."""
        return [row for row in self.rows if (row.threat, row.protocol) == (threat, protocol)]

    def measured(self, threat: str, protocol: str) -> Measured:
        """Return the rows of a threat and a protocol, to look up."""
        rows = self.rows_of(threat, protocol)
        return {(row.attack, row.defence, row.metric): row for row in rows}

    def cells(self, threat: str, protocol: str) -> int:
        """Return how many cells there are to be."""
        return sum(
            each["n"]
            for each in self.run["cells"]
            if (each["threat"], each["protocol"]) == (threat, protocol)
        )

    def checklist(self, suite: str, protocol: str) -> list[dict[str, str]]:
        """Return the items of the checklist, see `art_nip.benchmark.checklist`."""
        path = _present(self._folder / "checklist.json")
        items = json.loads(path.read_text(encoding="utf-8"))
        return [each for each in items if (each["suite"], each["protocol"]) == (suite, protocol)]

    def sweeps(self) -> list[Sweep]:
        """Return the attacks of no suite that differ by nothing but ε."""
        sizes = self.sizes
        alike: dict[str, Sweep] = {}
        for attack in self.run["attacks"]:
            label, name = attack["label"], str(attack.get("name") or attack.get("class"))
            # The step of an attack, "eps_step", is often a share of its ε.
            others = {
                key: value
                for key, value in attack.get("parameters", {}).items()
                if not key.startswith("eps")
            }
            if label in sizes and not attack.get("suite"):
                kind = json.dumps([name, others], sort_keys=True)
                alike.setdefault(kind, Sweep(name, {})).sizes[label] = sizes[label]
        return [sweep for sweep in alike.values() if len(set(sweep.sizes.values())) > 1]

    def examples(self, n: int) -> Examples | None:
        """Return up to n images, of different classes if possible, as each attack left them.

        :return: None if no attack is finished, or the inputs are not grey or colour images.
        """
        channels = 0 if self.run["channels_first"] else -1
        keys = self.run.get("adversarial", {})
        if not keys or len(self.image_shape) != 3 or self.image_shape[channels] not in (1, 3):
            return None
        files = {
            attack: _present(self._folder / "adversarial" / f"{key}.safetensors")
            for attack, key in keys.items()
        }
        sizes = []
        for path in files.values():
            with reading(path, AGAIN) as file:
                sizes.append(file.get_slice("x").get_shape()[0])
        shown = _of_each_class(self._classes[: min(sizes)], n)
        benign = self._pixels(self._folder / "images.safetensors", shown)
        adversarial = {attack: self._pixels(path, shown) for attack, path in files.items()}
        return Examples(benign, adversarial, self.run["channels_first"])

    def _pixels(self, path: Path, shown: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        low, high = clip_range(self.run["clip_values"])
        with reading(path, AGAIN) as file:
            # The images shown are among the first, and there can be gigabytes of them.
            images = file.get_slice("x")[: shown.max() + 1][shown]
        pixels: npt.NDArray[np.float32] = np.clip((images - low) / (high - low), 0, 1)
        return pixels

    def _labels(self, kind: str) -> list[str]:
        # The table can hold more than was asked for last, if somebody put it together.
        asked = [each["label"] for each in self.run[f"{kind}s"]]
        found = [getattr(row, kind) for row in self.rows]
        return list(dict.fromkeys([*asked, *found]))


def _of_each_class(classes: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.intp]:
    """Return the places of n images: the first of each class, and others if these are too few."""
    _, first = np.unique(classes, return_index=True)
    others = np.setdiff1d(np.arange(len(classes)), first)
    return np.sort(np.concatenate([np.sort(first), others])[:n])


def _present(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there. {AGAIN}")
    return path


def _description(path: Path) -> dict[str, Any]:
    try:
        run = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}). {AGAIN}") from error
    found = run.get("format") if isinstance(run, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{path} has the format {found!r}, and this version of art-nip reads {FORMAT}. "
            "Use the version that wrote it, or run the benchmark again into another folder."
        )
    missing = [key for key in KEYS if key not in run]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}. {AGAIN}")
    return dict(run)


def _rows(path: Path) -> Iterator[Row]:
    with open(path, encoding="utf-8", newline="") as file:
        for line, cells in enumerate(csv.DictReader(file), start=2):
            try:
                yield Row(
                    attack=cells["attack"],
                    defence=cells["defence"],
                    protocol=cells["protocol"],
                    threat=cells["threat"],
                    metric=cells["metric"],
                    value=_number(cells["value"]),
                    low=_number(cells["low"]),
                    high=_number(cells["high"]),
                    n=int(cells["n"]),
                    eps=_number(cells["eps"]),
                    error=cells["error"],
                )
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{path}, row {line}, is not as `art-nip benchmark` writes it ({error!r}). "
                    f"{AGAIN}"
                ) from error


def _number(text: str) -> float:
    return float(text) if text else math.nan
