"""What pydantic finds wrong in a spec file, in words that suit a YAML file."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from art_nip.utils.validation import nearest_name

EXPECTED = {
    "float_type": "a number",
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "int_type": "a whole number",
    "less_than": "below {lt}",
    "list_type": "a list, [like, this]",
    "model_type": "a mapping, {{key: value}}",
    "path_type": "a path",
    "string_type": "text; put it in quotes if it looks like a number",
    "too_short": "a list of at least one",
}
"""What each type of pydantic's errors asks for."""


def sentence(problem: ErrorDetails, sections: Mapping[str, type[BaseModel]]) -> str:
    """Return a problem in words.

    :param problem: one of those that pydantic's error lists.
    :param sections: what a file and its sections may hold, by their keys; of the file itself, "".
    """
    kind, given = problem["type"], problem["input"]
    if kind == "value_error":
        return str(problem["ctx"]["error"])
    if kind == "missing":
        return "this is missing."
    if kind == "extra_forbidden":
        *path, key = map(str, problem["loc"])
        keys = list(sections[path[0] if path else ""].model_fields)
        near = nearest_name(key, keys)
        return f"there is no such key. Did you mean {near!r}? Allowed: {', '.join(keys)}."
    should_be = EXPECTED.get(kind)
    if should_be is None:
        return f"{problem['msg']}; got {given!r}."
    return f"this should be {should_be.format(**problem.get('ctx', {}))}; got {given!r}."
