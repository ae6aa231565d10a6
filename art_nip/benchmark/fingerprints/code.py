"""Fingerprints of functions, classes and modules.

For users' code the bytecode counts, with everything that it refers to; for installed packages their
versions count.
"""

from __future__ import annotations

import csv
import dis
import hashlib
import inspect
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
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

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
    for place in ("analysis", "export", "plan/trial.py", "report", "schema.py", "spec")
)
"""Files and folders in them whose code changes nothing that the store of a benchmark keeps: no task
runs any of it, but for the words and records of the schema."""

IGNORED_CLASS_ENTRIES = {
    *("__abstractmethods__", "__annotations__", "__dataclass_fields__", "__dataclass_params__"),
    *("__dict__", "__doc__", "__firstlineno__", "__module__", "__orig_bases__", "__parameters__"),
    *("__slotnames__", "__static_attributes__", "__weakref__", "_abc_impl", "__annotate_func__"),
    *("__annotations_cache__", "__type_params__"),
}
"""Entries that do not change what a class does, or are made from its other entries."""


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


def _is_users_file(file: str) -> bool:
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


def parts_of_class(kind: type) -> Iterator[Any]:
    """Yield the contents of the user's classes among a class and its bases."""
    for base in kind.__mro__:
        if not is_users(base.__module__):
            yield f"{base.__module__}.{base.__qualname__} {version_of(base.__module__)}"
            continue
        yield base.__qualname__
        for name in sorted(vars(base).keys() - IGNORED_CLASS_ENTRIES):
            yield name
            yield unwrapped(vars(base)[name])


def unwrapped(value: Any) -> Any:
    """Return the functions that an entry of a class is made of, or the entry itself."""
    if isinstance(value, property):
        return ["property", value.fget, value.fset, value.fdel]
    if isinstance(value, (staticmethod, classmethod)):
        return [type(value).__name__, value.__func__]
    if type(value).__name__ in ("member_descriptor", "getset_descriptor"):
        return type(value).__name__
    if type(value).__name__ == "cached_property":
        return ["cached_property", value.func]
    return value


def parts_of_function(function: FunctionType) -> Iterator[Any]:
    """Yield the code and the defaults of a function, and the globals that it refers to."""
    yield function.__qualname__
    yield _parts_of_code(function.__code__)
    yield function.__defaults__
    yield function.__kwdefaults__
    yield from map(contents, function.__closure__ or ())
    # A decorator of a package has the module of what it decorates, and a function that has
    # travelled to another process may have another file.
    users = is_users(function.__module__ or "__main__")
    if users and _is_users_file(function.__code__.co_filename):
        for name in sorted(_global_names(function.__code__)):
            if name in function.__globals__:
                yield name
                yield function.__globals__[name]


def contents(cell: CellType) -> Any:
    """Return the value of a closure cell: a variable of an enclosing function."""
    try:
        return cell.cell_contents
    except ValueError:
        return "not assigned yet"


def parts_of_module(module: ModuleType) -> Iterator[Any]:
    """Yield what determines the behaviour of a module."""
    yield module.__name__
    if not is_users(module.__name__):
        yield version_of(module.__name__)
        return
    file = getattr(module, "__file__", None)
    if file and Path(file).is_file():
        yield Path(file).read_bytes()
    for name in sorted(vars(module)):
        if not name.startswith("__"):
            yield name
            yield vars(module)[name]


def mentioned(kind: type) -> set[str]:
    """Return the names that methods use in the user's classes among a class and its bases."""
    return {
        name
        for base in kind.__mro__
        if is_users(base.__module__)
        for value in vars(base).values()
        for function in _functions(value)
        for name in _names(function.__code__)
    }


def _functions(value: Any) -> Iterator[FunctionType]:
    """Yield the user's functions in an entry of a class."""
    if isinstance(value, property):
        for part in (value.fget, value.fset):
            yield from _functions(part)
    value = inspect.unwrap(getattr(value, "__func__", getattr(value, "func", value)))
    if isinstance(value, FunctionType) and _is_users_file(value.__code__.co_filename):
        yield value


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _global_names(code: CodeType) -> set[str]:
    names = {step.argval for step in dis.get_instructions(code) if "GLOBAL" in step.opname}
    names |= {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_NAME"}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _global_names(constant)
    return names


def _parts_of_code(code: CodeType) -> list[Any]:
    """Return what determines what a code object does, without its file and line."""
    constants = [
        _parts_of_code(constant) if isinstance(constant, CodeType) else constant
        for constant in code.co_consts
    ]
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return [code.co_code, constants, counts, names, getattr(code, "co_exceptiontable", b"")]
