"""The folder of a benchmark: each result is stored under the key of what determines it.

Every file is written whole or not at all, so a run that was killed continues where it stopped.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from art_nip.benchmark.schema.description import check_format
from art_nip.utils.files import reading, write_arrays, write_bytes


@dataclass(frozen=True)
class Result:
    """The result of a task.

    :param arrays: arrays by name.
    :param facts: numbers and texts by name; `error` and `traceback` if the task raised.
    """

    arrays: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def error(self) -> str | None:
        """The error that the task raised, in one line."""
        return self.facts.get("error")


class Store:
    """A folder of results.

    :param folder: the folder; it is made when the first result is put into it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def check(self) -> None:
        """Raise a ValueError if a benchmark of another format has written to the folder.

        A `benchmark.json` that is not JSON is no error: the run writes it anew.

        :raises OSError: if it is no folder.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"The store {self.folder} is a file; give a folder.")
        path = self.folder / "benchmark.json"
        if not path.is_file():
            return
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            return
        try:
            check_format(content)
        except ValueError as error:
            raise ValueError(f"{path} {error}") from error

    def has(self, kind: str, key: str) -> bool:
        """Return whether there is a result that is no error: tasks with errors are tried again."""
        return self._path(kind, key).exists()

    def get(self, kind: str, key: str) -> Result | None:
        """Return a result, or the error that was raised instead, or None.

        :raises ValueError: if the file was damaged.
        """
        try:
            return self.load(kind, key)
        except FileNotFoundError:
            return self.failure(kind, key)

    def failure(self, kind: str, key: str) -> Result | None:
        """Return the error that was raised instead of a result, or None."""
        path = self._error(kind, key)
        if not path.exists() or self.has(kind, key):
            return None
        return Result(facts=json.loads(path.read_text(encoding="utf-8")))

    def load(self, kind: str, key: str, names: Sequence[str] | None = None) -> Result:
        """Return a result that is there.

        :param names: the arrays to read; None reads all. Those that it lacks are left out.
        :raises ValueError: if the file was damaged.
        """
        with reading(self._path(kind, key), "Delete it, and run the benchmark again.") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            there = [name for name in file.keys() if names is None or name in names]  # noqa: SIM118
            return Result({name: file.get_tensor(name) for name in there}, facts)

    def put(self, kind: str, key: str, result: Result) -> None:
        """Keep a result, or an error."""
        if result.error is not None:
            self.write_json(self._error(kind, key).relative_to(self.folder), result.facts)
            return
        path = self._path(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_arrays(path, result.arrays, {"facts": json.dumps(result.facts)})
        self._error(kind, key).unlink(missing_ok=True)

    def write_json(self, name: str | Path, content: Any) -> None:
        """Write a JSON file into the folder."""
        self.write_text(name, json.dumps(content, indent=1))

    def write_text(self, name: str | Path, text: str) -> Path:
        """Write a text file into the folder, and return its path."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, text.encode())
        return path

    def write_arrays(self, name: str, arrays: dict[str, npt.NDArray[Any]]) -> None:
        """Write a safetensors file into the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_arrays(self.folder / name, arrays)

    def _path(self, kind: str, key: str) -> Path:
        return self.folder / f"{kind}/{key}.safetensors"

    def _error(self, kind: str, key: str) -> Path:
        return self.folder / f"errors/{kind}-{key}.json"
