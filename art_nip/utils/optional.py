"""Packages that only an extra of art-nip brings, imported when they are needed."""

from importlib import import_module
from typing import Any


def require(module: str, *, to: str, install: str) -> Any:
    """Import a module that only an extra of art-nip brings.

    :param module: dotted name of the module.
    :param to: what it is needed for: "read parquet files".
    :param install: what to install, as pip wants it: "art-nip[benchmark]".
    :return: the module.
    :raises ImportError: with one sentence that says what to install.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"art-nip needs {error.name} to {to}: pip install '{install}'.", name=error.name
        ) from error
