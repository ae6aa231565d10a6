"""What determines what a function, a class or a module does.

Of users' code the bytecode counts, with all it refers to; of installed packages their versions.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

import art_nip

PACKAGES = (
    *("art-nip", "adversarial-robustness-toolbox", "numpy"),
    *("torch", "tensorflow", "tensorflow-cpu", "keras"),
)

VERSIONED = {"art", "art_nip", "numpy", "torch", "tensorflow", "keras"}
"""What `versions` and `own_code` speak for."""

ROOMS_OF_RESULTS = ("attacks", "benchmark", "defences", "estimators", "nip", "utils", "zoo")
"""The parts of this package that determine results."""

NO_RESULTS = ("report", "resolve.py", "schema.py", "spec.py", "yaml_file.py")
"""What of these parts does not."""

NOT_CODE = {
    *("__abstractmethods__", "__annotations__", "__dataclass_fields__", "__dataclass_params__"),
    *("__dict__", "__doc__", "__firstlineno__", "__module__", "__orig_bases__", "__parameters__"),
    *("__slotnames__", "__static_attributes__", "__weakref__", "_abc_impl", "__annotate_func__"),
    *("__annotations_cache__", "__type_params__"),
}
"""Entries of classes that do not change what they do, or are made of the others."""


def versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on, those that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def own_code() -> str:
    """Return what stands for the code of this package: "" if it is installed, and has a version.

    Where it is worked on, its version stays the same while its code changes.
    """
    if is_installed("art_nip"):
        return ""
    root = Path(art_nip.__file__).parent
    digest = hashlib.sha256((root / "metrics.py").read_bytes())
    for room in ROOMS_OF_RESULTS:
        for path in sorted((root / room).rglob("*.py")):
            if not set(path.relative_to(root / room).parts) & set(NO_RESULTS):
                digest.update(f"{path.relative_to(root)}:".encode() + path.read_bytes())
    return digest.hexdigest()[:32]


@cache
def is_installed(name: str) -> bool:
    """Return whether a module is of Python or of an installed package, by its dotted name."""
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
    if {"site-packages", "dist-packages"} & set(path.parts) or file.startswith("<frozen"):
        return True
    return any(path.is_relative_to(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib"))


def _is_users_file(file: str) -> bool:
    own = Path(file).is_relative_to(Path(art_nip.__file__).parent)
    return not own and not _is_installed_file(file)


def is_users(name: str) -> bool:
    """Return whether code of a module counts as it is; that of this package has `own_code`."""
    return not (name.partition(".")[0] == "art_nip" or is_installed(name))


@cache
def version_of(name: str) -> str:
    """Return what stands for the installed code of a module: its package's version."""
    package = name.partition(".")[0]
    if package in VERSIONED or package in sys.stdlib_module_names:
        return ""
    found = sorted(set(_distributions().get(package, ())))
    return " ".join(f"{each} {version(each)}" for each in found)


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())


def parts_of_class(kind: type) -> Iterator[Any]:
    """Yield what the users' classes among a class and its bases consist of."""
    for base in kind.__mro__:
        if not is_users(base.__module__):
            yield f"{base.__module__}.{base.__qualname__} {version_of(base.__module__)}"
            continue
        yield base.__qualname__
        for name in sorted(vars(base).keys() - NOT_CODE):
            yield name
            yield unwrapped(vars(base)[name])


def unwrapped(value: Any) -> Any:
    """Return an entry of a class as what it is made of."""
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
    """Yield what a function consists of, and the global things that it refers to."""
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
    """Return what a function has kept of those around it."""
    try:
        return cell.cell_contents
    except ValueError:
        return "not assigned yet"


def parts_of_module(module: ModuleType) -> Iterator[Any]:
    """Yield what determines what the things in a module do."""
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
    """Return the names of attributes and globals that the users' classes of a class speak of."""
    return {
        name
        for base in kind.__mro__
        if is_users(base.__module__)
        for value in vars(base).values()
        for function in _functions(value)
        for name in _names(function.__code__)
    }


def _functions(value: Any) -> Iterator[FunctionType]:
    """Yield the users' functions that an entry of a class is made of."""
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
    names = {each.argval for each in dis.get_instructions(code) if "GLOBAL" in each.opname}
    names |= {each.argval for each in dis.get_instructions(code) if each.opname == "LOAD_NAME"}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _global_names(constant)
    return names


def _parts_of_code(code: CodeType) -> list[Any]:
    """Return what a code object does, wherever it stands in which file."""
    constants = [
        _parts_of_code(each) if isinstance(each, CodeType) else each for each in code.co_consts
    ]
    counts = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return [code.co_code, constants, counts, names, getattr(code, "co_exceptiontable", b"")]
