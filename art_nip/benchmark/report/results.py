"""Reads a folder of results for the report: what was run, the measurements, example images."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.benchmark.schema.checklist import ChecklistItem
from art_nip.benchmark.schema.description import Description, check_format
from art_nip.benchmark.schema.rows import COLUMNS, Row
from art_nip.benchmark.schema.words import ACCURACY_AT, BENIGN, LEFT_SO_FAR, Norm, Role
from art_nip.utils.files import reading
from art_nip.utils.validation import clip_range

RUN_AGAIN = "Run `art-nip benchmark` with this folder as its store: it goes on where it was."


Measurements = Mapping[tuple[str, str, str], Row]
"""The rows of one protocol and one threat, by attack, defence and metric."""


@dataclass(frozen=True)
class Sweep:
    """One attack with several ε.

    :param name: name of the attack.
    :param sizes: ε of each attack, by its label in the table.
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
    """The content of a folder of results.

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
        rows = list(_rows(_present(folder / "table.csv")))
        self.points = [row for row in rows if row.metric == ACCURACY_AT]
        self.turns = [row for row in rows if row.metric == LEFT_SO_FAR]
        self.rows = [row for row in rows if row.metric not in (ACCURACY_AT, LEFT_SO_FAR)]
        with reading(_present(folder / "images.safetensors"), RUN_AGAIN) as file:
            self.image_shape = tuple(file.get_slice("x").get_shape()[1:])
            self._classes = file.get_tensor("y")

    @property
    def attacks(self) -> list[str]:
        """The labels of all attacks, in the order of the run."""
        asked = [attack.label for attack in self.run.attacks]
        labels = dict.fromkeys([*asked, *(row.attack for row in self.rows)])
        return [label for label in labels if label not in (BENIGN, *self.suites)]

    @property
    def suites(self) -> list[str]:
        """The labels of the adaptive suites, whose rows hold the worst case of several attacks."""
        found = [attack.suite for attack in self.run.attacks if attack.suite]
        return list(dict.fromkeys(found))

    def failed(self, measured: Measurements, suite: str, defence: str) -> list[str]:
        """Return the attacks of a suite that raised an error, and so count for no worst case."""
        members = (attack.label for attack in self.run.attacks if attack.suite == suite)
        return [label for label in members if (label, defence, "error") in measured]

    @property
    def alone(self) -> list[str]:
        """The labels of the attacks that belong to no suite."""
        members = {attack.label for attack in self.run.attacks if attack.suite}
        return [attack for attack in self.attacks if attack not in members]

    @property
    def defences(self) -> list[str]:
        """The labels of all defences, in the order of the run."""
        asked = [defence.label for defence in self.run.defences]
        return list(dict.fromkeys([*asked, *(row.defence for row in self.rows)]))

    @property
    def settings(self) -> list[tuple[str, str]]:
        """All (threat, protocol) of the run, or of the table."""
        asked = [
            (str(threat), str(protocol))
            for threat in self.run.threats
            for protocol in self.run.protocols
        ]
        return list(dict.fromkeys([*asked, *((row.threat, row.protocol) for row in self.rows)]))

    @property
    def sizes(self) -> dict[str, float]:
        """ε of the attacks that have one."""
        sizes = {attack.label: attack.eps for attack in self.run.attacks}
        return {label: float(eps) for label, eps in sizes.items() if eps is not None}

    def rows_of(self, threat: str, protocol: str) -> list[Row]:
        """Return the rows of a threat and a protocol."""
        return [row for row in self.rows if (row.threat, row.protocol) == (threat, protocol)]

    def measured(self, threat: str, protocol: str) -> Measurements:
        """Return the rows of a threat and a protocol, by attack, defence and metric."""
        rows = self.rows_of(threat, protocol)
        return {(row.attack, row.defence, row.metric): row for row in rows}

    def curves(self, threat: str, protocol: str) -> dict[Norm, list[Row]]:
        """Return by norm the points of the curves of accuracy against ε, if there are any."""
        points = [row for row in self.points if (row.threat, row.protocol) == (threat, protocol)]
        found = {norm: [row for row in points if row.norm == norm] for norm in Norm}
        return {norm: rows for norm, rows in found.items() if rows}

    def cascade(self, suite: str, protocol: str) -> list[Row]:
        """Return what each attack of a cascade left, with those before; none if it is no cascade.

        The attacks are in turn.
        """
        labels = {f"{suite}: {role}" for role in Role}
        return [row for row in self.turns if row.attack in labels and row.protocol == protocol]

    def cells(self, threat: str, protocol: str) -> int:
        """Return how many cells a threat and a protocol will have."""
        return sum(
            count.n
            for count in self.run.cells
            if (count.threat, count.protocol) == (threat, protocol)
        )

    def missing(self, threat: str, protocol: str) -> int:
        """Return how many cells of a threat and a protocol have neither results nor an error."""
        there = {
            (row.attack, row.defence)
            for row in self.rows_of(threat, protocol)
            if row.attack not in self.suites
        }
        return max(0, self.cells(threat, protocol) - len(there))

    def checklist(self, suite: str, protocol: str) -> list[ChecklistItem]:
        """Return the items of the checklist, see `art_nip.benchmark.analysis.checklist`."""
        items = _checklist(_present(self._folder / "checklist.json"))
        return [item for item in items if (item.suite, item.protocol) == (suite, protocol)]

    def sweeps(self) -> list[Sweep]:
        """Return the attacks that differ by nothing but ε, except those of suites."""
        sizes = self.sizes
        alike: dict[str, Sweep] = {}
        for attack in self.run.attacks:
            # The step of an attack, "eps_step", is often a share of its ε.
            others = {
                key: value for key, value in attack.parameters.items() if not key.startswith("eps")
            }
            if attack.label in sizes and not attack.suite:
                kind = json.dumps([attack.name, others], sort_keys=True)
                sweep = alike.setdefault(kind, Sweep(attack.name, {}))
                sweep.sizes[attack.label] = sizes[attack.label]
        return [sweep for sweep in alike.values() if len(set(sweep.sizes.values())) > 1]

    def examples(self, n: int, attacks: int) -> Examples | None:
        """Return up to n images, of different classes if possible, as attacks changed them.

        :param attacks: the largest number of attacks; the first of the run are taken.
        :return: None if no attack is finished, or the inputs are not grey or colour images.
        """
        channels = 0 if self.run.channels_first else -1
        keys = self.run.adversarial
        if not keys or len(self.image_shape) != 3 or self.image_shape[channels] not in (1, 3):
            return None
        files = {
            attack: _present(self._folder / "adversarial" / f"{key}.safetensors")
            for attack, key in islice(keys.items(), attacks)
        }
        sizes = []
        for path in files.values():
            with reading(path, RUN_AGAIN) as file:
                sizes.append(file.get_slice("x").get_shape()[0])
        shown = _of_each_class(self._classes[: min(sizes)], n)
        benign = self._pixels(self._folder / "images.safetensors", shown)
        adversarial = {attack: self._pixels(path, shown) for attack, path in files.items()}
        return Examples(benign, adversarial, self.run.channels_first)

    def _pixels(self, path: Path, shown: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
        low, high = clip_range((self.run.clip_values[0], self.run.clip_values[1]))
        with reading(path, RUN_AGAIN) as file:
            # The images shown are among the first, and there can be gigabytes of them.
            images = file.get_slice("x")[: shown.max() + 1][shown]
        pixels: npt.NDArray[np.float32] = np.clip((images - low) / (high - low), 0, 1)
        return pixels


def _of_each_class(classes: npt.NDArray[np.int64], n: int) -> npt.NDArray[np.intp]:
    """Return the indices of n images: the first of each class, and others if these are too few."""
    _, first = np.unique(classes, return_index=True)
    others = np.setdiff1d(np.arange(len(classes)), first)
    return np.sort(np.concatenate([np.sort(first), others])[:n])


def _present(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there. {RUN_AGAIN}")
    return path


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}). {RUN_AGAIN}") from error


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn errors about the content of a file into a sentence."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(
            f"{what} is not as `art-nip benchmark` writes it ({error!r}). {RUN_AGAIN}"
        ) from error


def _description(path: Path) -> Description:
    content = _json(path)
    try:
        check_format(content)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error
    with _reading(str(path)):
        return Description.from_json(content)


def _checklist(path: Path) -> list[ChecklistItem]:
    content = _json(path)
    with _reading(str(path)):
        return [ChecklistItem.from_json(item) for item in content]


def _rows(path: Path) -> Iterator[Row]:
    with open(path, encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        with _reading(f"{path}, row 1,"):
            # Tables from before there were norms have no such column.
            missing = set(COLUMNS) - {"norm", *(lines.fieldnames or ())}
            if missing:
                raise ValueError(f"lacks {', '.join(sorted(missing))}")
        for line in count(2):
            with _reading(f"{path}, row {line},"):
                cells = next(lines, None)
                if cells is None:
                    return
                row = Row.from_texts(cells)
            yield row
