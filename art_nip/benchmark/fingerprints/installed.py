"""What is installed counts by its version, and the user's code and this package's by what it is."""

from __future__ import annotations

import csv
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from importlib.metadata import (
    PackageNotFoundError,
    distributions,
    packages_distributions,
    version,
)
from pathlib import Path

import art_nip

PACKAGES = (
    *("art-nip", "adversarial-robustness-toolbox", "numpy"),
    *("torch", "tensorflow", "tensorflow-cpu", "keras", "pyautoattack"),
)

VERSIONED = {"art", "art_nip", "numpy", "torch", "tensorflow", "keras"}
"""Packages that `versions` and `own_code` cover already."""

SITES = {"site-packages", "dist-packages"}
"""Names of the folders that Python has for installed packages."""

RESULT_FOLDERS = (
    *("attacks", "benchmark", "data", "defences", "detection", "estimators", "nip", "utils"),
    "zoo",
)
"""The folders of this package whose code determines results."""

WITHOUT_EFFECT = tuple(
    f"benchmark/{place}"
    for place in ("analysis", "export", "plan/trial.py", "report", "schema", "spec")
)
"""Files and folders in them whose code changes nothing that the store of a benchmark keeps: no task
runs any of it, but for the words and records of the schema."""


def versions() -> dict[str, str]:
    """Return the versions of the installed packages that results depend on."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def own_code() -> str:
    """Return a digest of this package's code, or "" if it is installed: then its version counts.

    In a working copy the version stays the same while the code changes.
    """
    if is_installed("art_nip"):
        return ""
    digest = hashlib.sha256()
    for place, path in files_of_results():
        digest.update(f"{place}:".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


def files_of_results() -> Iterator[tuple[Path, Path]]:
    """Yield the files of this package whose code determines results: place in it, and path."""
    root = Path(art_nip.__file__).parent
    folders = (path for folder in RESULT_FOLDERS for path in sorted((root / folder).rglob("*.py")))
    for path in (root / "metrics.py", *folders):
        place = path.relative_to(root)
        if not any(map(place.is_relative_to, WITHOUT_EFFECT)):
            yield place, path


@cache
def is_installed(name: str) -> bool:
    """Return whether a module, by its dotted name, belongs to Python or to an installed package."""
    if name in sys.builtin_module_names:
        return True
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None:
        # Namespace packages have no file, but their parts do; `__main__` of a shell has none.
        paths = list(getattr(sys.modules.get(name), "__path__", []))
        file = paths[0] if paths else None
    return file is not None and _is_installed_file(file)


@cache
def _is_installed_file(file: str) -> bool:
    path = Path(file)
    if SITES & set(path.parts) or file.startswith("<frozen"):
        return True
    of_python = [Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib")]
    return any(map(path.is_relative_to, of_python)) or _distribution_of(file) is not None


@cache
def _distribution_of(file: str) -> str | None:
    """Return what `pip install --target` has put a file into another folder with, and its version.

    The folder need not be on `sys.path` any more, and may hold the user's own modules too.
    """
    path = Path(os.path.abspath(file))
    found = (_recorded(folder).get(path.relative_to(folder).as_posix()) for folder in path.parents)
    return next(filter(None, found), None)


@cache
def _recorded(folder: Path) -> dict[str, str]:
    """Return the distribution of each file that a folder's records of installed files list."""
    files: dict[str, str] = {}
    for distribution in distributions(path=[str(folder)]):
        # A working copy has no record. Where one cannot be read, the files count by their code.
        with suppress(OSError, UnicodeDecodeError):
            rows = csv.reader((distribution.read_text("RECORD") or "").splitlines())
            about = distribution.metadata
            if "Version" in about:
                label = f"{about['Name']} {about['Version']}"
                files |= {row[0]: label for row in rows if row}
    return files


def is_users_file(file: str) -> bool:
    """Return whether a file is the user's, and its code counts; this package has `own_code`."""
    own = Path(file).is_relative_to(Path(art_nip.__file__).parent)
    return not own and not _is_installed_file(file)


def is_users(name: str) -> bool:
    """Return whether a module is the user's, and its code counts; this package has `own_code`."""
    return not (name.partition(".")[0] == "art_nip" or is_installed(name))


@cache
def version_of(name: str) -> str:
    """Return the version of a module's package, which stands for its installed code."""
    package = name.partition(".")[0]
    if package in VERSIONED or package in sys.stdlib_module_names:
        return ""
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is not None and not SITES & set(Path(file).parts) and _distribution_of(file):
        return str(_distribution_of(file))
    found = sorted(set(_distributions().get(package, ())))
    return " ".join(f"{distribution} {version(distribution)}" for distribution in found)


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())
