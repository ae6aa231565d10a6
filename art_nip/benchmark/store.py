"""The folder of a benchmark: what was computed, each piece under the key of what determines it.

Every file is there whole or not at all, so a run that is killed goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from art_nip.utils.files import reading, write_arrays, write_bytes


@dataclass(frozen=True)
class Result:
    """What a task gave.

    :param arrays: by name.
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

    :param folder: made when something is put into it.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def has(self, kind: str, key: str) -> bool:
        """Return whether a result is there that is not an error: errors are tried again."""
        return self._path(kind, key).exists()

    def get(self, kind: str, key: str) -> Result | None:
        """Return a result, or the error that was met instead, or None.

        :raises ValueError: if the file was damaged.
        """
        return self.load(kind, key) if self.has(kind, key) else self.failure(kind, key)

    def failure(self, kind: str, key: str) -> Result | None:
        """Return the error that was met where there is no result, or None."""
        path = self._error(kind, key)
        if self.has(kind, key) or not path.exists():
            return None
        return Result(facts=json.loads(path.read_text(encoding="utf-8")))

    def load(self, kind: str, key: str) -> Result:
        """Return a result that is there.

        :raises ValueError: if the file was damaged.
        """
        with reading(self._path(kind, key), "Delete it, and run the benchmark again.") as file:
            facts = json.loads((file.metadata() or {}).get("facts", "{}"))
            names = file.keys()
            return Result({name: file.get_tensor(name) for name in names}, facts)

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
        return self.folder / kind / f"{key}.safetensors"

    def _error(self, kind: str, key: str) -> Path:
        return self.folder / "errors" / f"{kind}-{key}.json"
