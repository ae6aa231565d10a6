"""The choice of a retrieval or an evidence, by name, as an object, or as a file spells it."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from art_nip.utils.validation import check_choice

Kind = TypeVar("Kind")


def chosen_of(
    what: str, given: Any, base: Any, kinds: Mapping[str, type[Kind]], example: str
) -> Kind:
    """Return the chosen retrieval or evidence as an object.

    :param what: what is chosen, for errors: "retrieval".
    :param given: a name, an object, or a mapping of "name" and parameters.
    :param base: the class of all such objects.
    :param kinds: the classes that have a name; all are dataclasses.
    :param example: how an object is made, for errors.
    :raises ValueError: if there is no such name or parameter; the message names the nearest.
    :raises TypeError: if it is none of these.
    """
    if isinstance(given, base):
        return given  # type: ignore[no-any-return]
    if not isinstance(given, (str, Mapping)):
        raise TypeError(
            f"{what}={given!r}; give a name, one of {', '.join(map(repr, kinds))}, or an object, "
            f"such as {example}."
        )
    parameters = {"name": given} if isinstance(given, str) else dict(given)
    name = parameters.pop("name", None)
    check_choice(what, name, list(kinds))
    known = ["name", *(field.name for field in fields(kinds[name]))]  # type: ignore[arg-type]
    for parameter in parameters:
        check_choice(f"parameter of {what} {name!r}", parameter, known)
    return kinds[name](**parameters)
