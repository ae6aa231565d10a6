"""Reads a YAML file, without YAML's known traps; errors say the line of the problem."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import yaml

ALLOWED_KEY_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")

DECIMAL = re.compile(r"[-+]?(0|[1-9][0-9_]*)")


class _Loader(yaml.SafeLoader):
    """Takes 1e-3 and 8/255 for numbers, and refuses what YAML may take for something else.

    It refuses keys that are no text or occur twice, and what differs between versions of YAML:
    numbers to other bases than ten, and yes, no, on and off for true and false.
    """

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (AttributeError, ArithmeticError, ValueError):
            # PyYAML's constructors fail in ways of their own where a tag does not suit its text.
            kind = node.tag.rpartition(":")[2].lstrip("!")
            _refuse(f"this cannot be read as the {kind} that it is taken for", node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.tag not in ALLOWED_KEY_TAGS:
                _refuse("a key must be text: put it in quotes", key)
            if key.value in seen:
                _refuse(f"the key {key.value!r} is there twice", key)
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if not DECIMAL.fullmatch(node.value):
            _refuse_number(node)
        return int(node.value)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        if ":" in node.value:
            _refuse_number(node)
        number: float = super().construct_yaml_float(node)
        return number

    def construct_yaml_bool(self, node: yaml.ScalarNode) -> bool:
        if node.value.lower() not in ("true", "false"):
            _refuse(
                f"{node.value} stands for true or false in some versions of YAML: write true or "
                f'false, or "{node.value}" for the text',
                node,
            )
        return str(node.value).lower() == "true"

    def construct_octal(self, node: yaml.ScalarNode) -> NoReturn:
        _refuse_number(node)

    def construct_fraction(self, node: yaml.ScalarNode) -> float:
        return float(Fraction(node.value))


def _refuse(problem: str, node: yaml.Node) -> NoReturn:
    raise _Refusal(problem=problem, problem_mark=node.start_mark)


def _refuse_number(node: yaml.ScalarNode) -> NoReturn:
    _refuse(
        f"{node.value} is a number that is not to the base of ten in some versions of YAML: write "
        f'it as a decimal, or "{node.value}" for the text',
        node,
    )


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"), None
)
_Loader.add_implicit_resolver("!fraction", re.compile(r"[0-9]+/[1-9][0-9]*$"), None)
_Loader.add_implicit_resolver("!octal", re.compile(r"[-+]?0o[0-7_]+$"), None)
for _kind in ("int", "float", "bool"):
    _construct = getattr(_Loader, f"construct_yaml_{_kind}")
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _construct)
_Loader.add_constructor("!octal", _Loader.construct_octal)
_Loader.add_constructor("!fraction", _Loader.construct_fraction)


class _Refusal(yaml.constructor.ConstructorError):
    """The error of valid YAML that is not allowed here."""


def _message(error: yaml.MarkedYAMLError) -> str:
    what = "" if isinstance(error, _Refusal) else "this is not valid YAML: "
    return f"{what}{error.problem}"


class YAMLFile:
    """The content of a file, and the lines where it stands.

    :param path: the file.
    :raises OSError: if it cannot be read.
    :raises ValueError: if it is not YAML; the message says in which line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        text = path.read_bytes()
        try:
            self.content: Any = yaml.load(text, _Loader)
            self._tree = yaml.compose(text, _Loader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = f", line {mark.line + 1}" if mark else ""
            raise ValueError(f"{path}{line}: {_message(error)}.") from error
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: this is not valid YAML: {error}") from error
        except RecursionError as error:
            raise ValueError(f"{path}: this is nested too deeply to be read.") from error

    def place(self, keys: Sequence[str | int]) -> str:
        """Return the place of a value for an error message: "runs.yaml, line 3, attacks[1].eps".

        :param keys: of mappings and indices of lists, from the top; what is not in the file is
            where it should be.
        """
        node, line = self._tree, 1
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                found = [(name, value) for name, value in node.value if name.value == str(key)]
                if not found:
                    break
                line, node = found[0][0].start_mark.line + 1, found[0][1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int):
                node = node.value[key]
                line = node.start_mark.line + 1
        names = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys)
        return f"{self.path}, line {line}" + (f", {names.lstrip('.')}" if names else "")
