"""Named attacks and defences are made once before the computation, to hear what they refuse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from art.defences.preprocessor.preprocessor import Preprocessor

from art_nip.benchmark.plan.attacks import AttackEntry
from art_nip.benchmark.plan.defences import DefenceEntry
from art_nip.benchmark.plan.given import Named
from art_nip.benchmark.schema.words import Threat
from art_nip.estimators.clones import defended


def check_made(
    attack_entries: Iterable[AttackEntry],
    defence_entries: Iterable[DefenceEntry],
    classifier: Any,
    threats: Sequence[str],
) -> None:
    """Make each named attack and defence once, so that its own checks run before the computation.

    :param classifier: the undefended classifier. An attack that suits only a defended classifier is
        made for that one, if there are adaptive threats.
    :raises ValueError: if an attack or a defence cannot be made; the message says which, and why.
    """
    estimators = [classifier]
    for entry in defence_entries:
        defence = _made("defence", entry, [classifier])
        if Threat.ADAPTIVE in threats and isinstance(defence, Preprocessor):
            with suppress(ValueError):  # ART cannot chain it; its cells will hold the error
                estimators.append(defended(classifier, defence, in_front=True))
    for attack in attack_entries:
        if not attack.suite:
            _made("attack", attack, estimators)


def _made(what: str, entry: AttackEntry | DefenceEntry, estimators: Sequence[Any]) -> Any:
    """Return what an entry makes for the first estimator that it can be made for."""
    if not isinstance(entry.make, Named):
        return None
    errors: list[Exception] = []
    for estimator in estimators:
        try:
            return entry.make(estimator)
        except ImportError:
            raise
        except Exception as error:  # ART refuses with errors of any kind
            errors.append(error)
    raise ValueError(
        f"The {what} {entry.label!r} cannot be made for this classifier: {errors[0]}"
    ) from errors[0]
