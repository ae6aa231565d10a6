"""Fingerprints of functions, classes and modules.

For users' code the bytecode counts, with everything that it refers to; for installed packages their
versions count.
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any

from art_nip.benchmark.fingerprints.installed import is_users, is_users_file, version_of

IGNORED_CLASS_ENTRIES = {
    *("__abstractmethods__", "__annotations__", "__dataclass_fields__", "__dataclass_params__"),
    *("__dict__", "__doc__", "__firstlineno__", "__module__", "__orig_bases__", "__parameters__"),
    *("__slotnames__", "__static_attributes__", "__weakref__", "_abc_impl", "__annotate_func__"),
    *("__annotations_cache__", "__type_params__"),
}
"""Entries that do not change what a class does, or are made from its other entries."""


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
    if users and is_users_file(function.__code__.co_filename):
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
    if isinstance(value, FunctionType) and is_users_file(value.__code__.co_filename):
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
