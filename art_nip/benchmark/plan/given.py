"""What attacks and defences share as users give them: lists, labels, parameters and names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any


def check_told(label: Any, parameters: Any) -> None:
    """Raise a TypeError unless a label is text and parameters have names."""
    if label is not None and not isinstance(label, str):
        raise TypeError(f"label={label!r}; give text, or None for the name.")
    if not isinstance(parameters, Mapping):
        raise TypeError(
            f"parameters={parameters!r}; give a mapping from names to values, such as "
            '{"eps": 8 / 255}.'
        )


def labelled(what: str, given: Any, kind: type[Any]) -> list[Any]:
    """Return attacks or defences as a list.

    :param what: "attack" or "defence", for the error.
    :param given: several of them, or a mapping from labels to them.
    :param kind: the class that holds one of them with a label.
    """
    if isinstance(given, Mapping):
        return [
            replace(item, label=label) if isinstance(item, kind) else kind(item, label)
            for label, item in given.items()
        ]
    return listed(what, given)


def listed(what: str, given: Any) -> list[Any]:
    """Return several of something as a list; raise a TypeError that says how to give one.

    :param what: one of them, for the error.
    """
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(
            f"The {what}s are {given!r}; give a list, also of one: [{given!r}]."
            if isinstance(given, str)
            else f"The {what}s are one {type(given).__name__}; give a list, also of one: [{what}]."
        )
    return list(given)


def check_labels(what: str, labels: Sequence[str], reserved: Sequence[str]) -> None:
    """Raise a ValueError if two labels are the same, or the tables use one otherwise.

    :param what: "attack" or "defence", for the error.
    """
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(
                f"Two {what}s are called {label!r}: give one another label, {what.title()}(…, "
                'label="…").'
            )
        if label in reserved:
            raise ValueError(f"No {what} can be called {label!r}: the tables use it otherwise.")


@contextmanager
def naming(what: str, name: str) -> Iterator[None]:
    """Add the name of the attack or defence to errors about its parameters."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if repr(name) in str(error):
            raise
        raise ValueError(f"The {what} {name!r}: {error}") from error


def written(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as JSON can hold them: what it cannot hold, as text."""
    plain = (bool, int, float, str, type(None))
    return {
        name: value if isinstance(value, plain) else str(value)
        for name, value in parameters.items()
    }


@dataclass(frozen=True)
class Named:
    """Makes a named attack or defence. It is a class because inner functions cannot be pickled.

    :param named: the :class:`art_nip.attacks.NamedAttack` or
        :class:`art_nip.defences.NamedDefence`.
    :param parameters: parameters other than its own.
    """

    named: Any
    parameters: Mapping[str, Any]

    def __call__(self, classifier: Any) -> Any:
        """Return the attack on a classifier, or the defence for it."""
        return self.named.create(classifier, **self.parameters)
