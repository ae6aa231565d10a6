"""What all tables and figures of a run share: models, images, and the folder of results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from art_nip import __version__
from art_nip.utils.files import reading, tensors, write_arrays, write_bytes
from art_nip.utils.validation import check_choice, check_flag, check_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Setting:
    """How tables and figures are made.

    :param out: folder of the results.
    :param weights: folder of trained weights, files of `art-nip train`.
    :param data: folder of local images, see `art_nip.data.load`; None takes the hub's.
    :param models: names of `art_nip.paper.subjects.SUBJECTS`; None for all. None if `tiny`.
    :param limit: how many images of each model are attacked.
    :param bank: how many benign images, of the training part, held-out defences are fitted on; None
        for 1,000, if `tiny` for 100.
    :param tiny: a small model, trained on the spot, on the digits that come with the package.
    :param framework: "pytorch" or "tensorflow".
    :param seed: of everything that is drawn at random.
    :param jobs: how many tasks of a benchmark run at once.
    :param verbose: whether to show progress, on standard error.
    :raises ValueError: if a value is not allowed.
    """

    out: Path
    weights: Path = Path("weights")
    data: Path | None = None
    models: tuple[str, ...] | None = None
    limit: int = 500
    bank: int | None = None
    tiny: bool = False
    framework: str = "pytorch"
    seed: int = 0
    jobs: int = 1
    verbose: bool = True
    failed: list[str] = field(default_factory=list, init=False, repr=False, compare=False)
    """What cells of benchmarks have raised so far; they are tried again in the next run."""

    def __post_init__(self) -> None:
        check_whole("limit", self.limit, least=1)
        if self.bank is not None:
            check_whole("bank", self.bank, least=1)
        check_whole("seed", self.seed, least=0)
        check_whole("jobs", self.jobs, least=1)
        check_flag("tiny", self.tiny)
        if self.tiny and self.models is not None:
            raise ValueError(
                f"The tiny setting has a model of its own, and not {', '.join(self.models)}: leave "
                "the models out, or make the tables without tiny."
            )
        check_choice("framework", self.framework, ("pytorch", "tensorflow"))

    @property
    def results(self) -> Results:
        """What was computed so far."""
        return Results(self.out / "results")


NOTHING_SUCCEEDED = "no attack succeeded, so that there is nothing to repair"
"""Why a figure is lacking."""


@dataclass(frozen=True)
class Made:
    """A table or figure of the paper.

    :param table: a table or a sentence in Markdown; "" for none.
    :param figures: figures by the name that is added to that of the exhibit.
    """

    table: str = ""
    figures: Mapping[str, Figure] = field(default_factory=dict)


def lacking(labels: Sequence[str], why: str) -> str:
    """Return what stands in the place of figures of some models that there are none of.

    :param labels: of the models; of none it is "".
    :param why: the rest of the sentence.
    """
    return f"No figure of {', '.join(labels)}: {why}." if labels else ""


class Results:
    """A folder of results: each is computed once, and written whole or not at all.

    What determines a result is in the name of its file, as a digest, and so is the version of
    art-nip. A result of code that was edited since is taken for what it was: use another folder.

    :param folder: made when the first result is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def record(
        self, name: str, determined_by: Mapping[str, Any], make: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        """Return a result that JSON can hold, computed if it is not there yet.

        :param name: of the file, before the digest.
        :param determined_by: all that the result hangs on, as JSON can hold it.
        :param make: computes it.
        :raises ValueError: if the file was damaged.
        """
        path = self._path(name, determined_by, "json")
        if not path.is_file():
            content = {"determined_by": dict(determined_by), "result": make()}
            write_bytes(path, json.dumps(content, indent=1).encode())
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["result"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged. Delete it, and run again.") from error
        return found

    def arrays(
        self,
        name: str,
        determined_by: Mapping[str, Any],
        make: Callable[[], dict[str, npt.NDArray[Any]]],
    ) -> dict[str, npt.NDArray[Any]]:
        """Return arrays by name, computed if they are not there yet; as :meth:`record`."""
        path = self.file(name, determined_by, lambda path: write_arrays(path, make()))
        with reading(path, "Delete it, and run again.") as file:
            return tensors(file)

    def file(
        self, name: str, determined_by: Mapping[str, Any], write: Callable[[Path], None]
    ) -> Path:
        """Return the path of a safetensors file, written if it is not there yet.

        :param name: of the file, before the digest.
        :param determined_by: all that the file hangs on, as JSON can hold it.
        :param write: writes it to a path, whole or not at all.
        """
        path = self._path(name, determined_by, "safetensors")
        if not path.is_file():
            write(path)
        return path

    def _path(self, name: str, determined_by: Mapping[str, Any], suffix: str) -> Path:
        told = json.dumps([__version__, name, determined_by], sort_keys=True)
        digest = hashlib.sha256(told.encode()).hexdigest()[:12]
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / f"{name}-{digest}.{suffix}"


def digest_of(*arrays: npt.NDArray[Any]) -> str:
    """Return a digest of arrays, for what determines a result."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.shape} {array.dtype}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()[:16]
