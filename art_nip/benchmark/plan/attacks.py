"""Attacks in one form, ready to be made for any classifier in any process.

The user gives them as names or as objects of ART.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack

from art_nip import attacks
from art_nip.attacks.base import UnitRangeAttack
from art_nip.attacks.labels import takes_true_classes
from art_nip.benchmark.fingerprints import fingerprint
from art_nip.benchmark.plan import suite as adaptive
from art_nip.benchmark.plan.defences import DefenceEntry
from art_nip.benchmark.plan.given import Named, check_labels, check_told, labelled, naming, written
from art_nip.benchmark.plan.serialization import Detached, alike
from art_nip.benchmark.schema.description import AttackRecord
from art_nip.benchmark.schema.words import BENIGN, NEAREST, Kind, Norm, Role, Threat
from art_nip.utils.ranges import PixelRange
from art_nip.utils.validation import check_choice, check_whole, plain


@dataclass(frozen=True)
class Attack:
    """A named attack with other parameters than its own, or ART's attack with a label or a limit.

    :param attack: a name, or an ART attack; "adaptive" stands for the whole suite of
        `art_nip.benchmark.plan.suite`, with the parameters of its `DEFAULTS`.
    :param label: its label in tables; None takes the name, or the class of the attack.
    :param parameters: parameters of a named attack.
    :param limit: how many images are attacked, the first ones; None takes the named attack's own.
    """

    attack: Any
    label: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None

    def __post_init__(self) -> None:
        check_told(self.label, self.parameters)


@dataclass(frozen=True)
class AttackEntry:
    """An attack, ready to be made for any classifier, in any process.

    :param label: its label in tables.
    :param name: the name of a named attack, else the class.
    :param parameters: its parameters, as reports show them.
    :param eps: the ε of the attack, of images in [0, 1]; NaN where it has none.
    :param norm: the norm that this ε is in, one of `Norm`; "" where it has none, or in another.
    :param identity: fingerprint of what determines it.
    :param make: takes a classifier, and returns the ART attack on it; None for a cascade.
    :param limit: how many images are attacked; None: all.
    :param per_image: whether each image is attacked by itself.
    :param suite: the label of the adaptive suite that it belongs to; "" for none.
    :param budget: the budget of the suite: ε, of images in [0, 1].
    :param budget_norm: the norm that the budget is in.
    :param role: its name in the suite.
    :param kinds: the kinds of defence that it is made for, see :class:`Kind`.
    :param by_surrogates: whether it is for those only that offer surrogate losses.
    :param by_undefended: whether it follows the loss of the undefended classifier instead.
    :param through: whether it goes through the defence where the threat is adaptive.
    :param parts: of a cascade, its attacks in turn; else ().
    """

    label: str
    name: str
    parameters: dict[str, Any]
    eps: float
    identity: str
    make: Callable[[Any], Any] | None
    limit: int | None
    per_image: bool
    norm: str = ""
    suite: str = ""
    budget: float = math.nan
    budget_norm: Norm = Norm.LINF
    role: Role | None = None
    kinds: tuple[Kind, ...] = adaptive.KINDS
    by_surrogates: bool = False
    by_undefended: bool = False
    through: bool = True
    parts: tuple[AttackEntry, ...] = ()

    def fits(self, defence: DefenceEntry) -> bool:
        """Return whether it is made for such a defence."""
        offered = defence.offers_surrogates or not self.by_surrogates
        return defence.kind in self.kinds and offered

    def against(self, defence: DefenceEntry) -> AttackEntry:
        """Return the same; of a cascade, with those attacks only that fit such a defence."""
        return replace(self, parts=tuple(part for part in self.parts if part.fits(defence)))

    def record(self) -> AttackRecord:
        """Return it as the folder of results has it."""
        return AttackRecord(
            label=self.label,
            name=self.name,
            parameters=written(self.parameters),
            limit=self.limit,
            suite=self.suite,
            eps=None if math.isnan(self.eps) else self.eps,
            norm=self.norm,
        )


def attack_entries(given: Iterable[Any], classifier: Any) -> list[AttackEntry]:
    """Return attacks as entries, with labels that differ.

    :param given: names, ART attacks, and :class:`Attack`.
    :param classifier: the classifier that ART's attacks were made for.
    :raises ValueError: if a name or a parameter is not known, or two have one label.
    :raises TypeError: if one is none of these.
    """
    entries = [
        entry
        for attack in labelled("attack", given, Attack)
        for entry in _entries(attack, classifier)
    ]
    # Tables have rows of suites, and of the attacks of a cascade, too.
    suites = {entry.suite for entry in entries if entry.suite}
    every = [part for entry in entries for part in (entry, *entry.parts)]
    labels = [*(entry.label for entry in every), *suites]
    check_labels("attack", labels, reserved=(BENIGN, NEAREST))
    return entries


def check_suites(entries: Iterable[AttackEntry], threats: Sequence[str]) -> None:
    """Raise a ValueError if there is an adaptive suite, and nothing is attacked adaptively."""
    for entry in entries:
        if entry.suite and Threat.ADAPTIVE not in threats:
            raise ValueError(
                f'The attacks {entry.suite!r} go through the defences: add "adaptive" to threats, '
                f"which are {', '.join(threats)}."
            )


def _entries(given: Any, classifier: Any) -> list[AttackEntry]:
    """Return the entry of an attack, or those of the whole suite."""
    chosen = given if isinstance(given, Attack) else Attack(given)
    chosen = replace(chosen, parameters=plain(chosen.parameters))
    if not isinstance(chosen.attack, str):
        return [_of_art(chosen, classifier)]
    if chosen.attack.lower() != adaptive.SUITE:
        return [_named(chosen)]
    check_choice("attack", chosen.attack, (adaptive.SUITE, *attacks.NAMES))
    parameters = adaptive.settled(chosen.parameters)
    label = chosen.label or adaptive.SUITE
    limit = adaptive.LIMIT if chosen.limit is None else chosen.limit
    return [
        _of_suite(member, label, parameters, limit, classifier)
        for member in adaptive.members(**parameters)
        if member.suits(classifier)
    ]


def _of_suite(
    member: adaptive.Member,
    suite: str,
    settled: Mapping[str, Any],
    limit: int,
    classifier: Any,
) -> AttackEntry:
    label = f"{suite}: {member.role}"
    parts = [
        _of_suite(part, suite, settled, limit, classifier)
        for part in member.parts
        if part.suits(classifier)
    ]
    if parts:
        entry = _cascade(label, settled, parts)
    else:
        entry = _named(Attack(member.attack, label, member.parameters, limit))
    if member.by_undefended:
        entry = replace(entry, identity=fingerprint(entry.identity, "by undefended"))
    return replace(
        entry,
        suite=suite,
        budget=settled["eps"],
        budget_norm=Norm(settled["norm"]),
        role=member.role,
        kinds=member.kinds,
        by_surrogates=member.by_surrogates,
        by_undefended=member.by_undefended,
        through=member.through,
    )


def _cascade(label: str, settled: Mapping[str, Any], parts: Sequence[AttackEntry]) -> AttackEntry:
    return AttackEntry(
        label=label,
        name=str(Role.CASCADE),
        parameters=dict(settled),
        eps=settled["eps"],
        norm=settled["norm"],
        identity=fingerprint("cascade", [part.identity for part in parts]),
        make=None,
        limit=parts[0].limit,
        per_image=False,
        parts=tuple(parts),
    )


def _named(chosen: Attack) -> AttackEntry:
    name = chosen.attack
    named = attacks.get(name)
    with naming("attack", name):
        parameters = named.resolved(chosen.parameters)
    eps = _number(None if parameters.get(attacks.MINIMAL) else parameters.get("eps"))
    limit = _limit(chosen)
    return AttackEntry(
        label=chosen.label or name,
        name=name,
        parameters=parameters,
        eps=eps,
        norm=_norm(eps, parameters),
        identity=fingerprint("attack", name, parameters),
        make=Named(named, dict(chosen.parameters)),
        limit=named.limit if limit is None else limit,
        per_image=named.per_image,
    )


def _of_art(chosen: Attack, classifier: Any) -> AttackEntry:
    attack = chosen.attack
    if not isinstance(attack, EvasionAttack):
        raise TypeError(
            f"{attack!r} is no attack: give a name ({', '.join(attacks.NAMES)}, or "
            f"{adaptive.SUITE!r} for a whole suite), an evasion attack of ART, or "
            "Attack(one of these, …)."
        )
    if chosen.parameters:
        raise ValueError("An ART attack has its parameters already: give none with it.")
    kind = type(attack).__name__
    if not alike(attack.estimator, classifier):
        raise ValueError(
            f"The attack {chosen.label or kind!r} was made for another classifier than the "
            "benchmark's, or for one with other defences: make it for the benchmark's. Through "
            'defences it goes with threats=["adaptive"].'
        )
    # Refuses attacks that can only lead to classes of the user's choice.
    takes_true_classes(attack)
    parameters = {name: getattr(attack, name, None) for name in attack.attack_params}
    eps = _number(parameters.get("eps"))
    if not isinstance(attack, UnitRangeAttack):
        # ART's own is in the range of the images; of channels with several, the largest share.
        eps /= float(PixelRange.of(classifier.clip_values).span.min())
    return AttackEntry(
        label=chosen.label or kind,
        name=kind,
        parameters=parameters,
        eps=eps,
        norm=_norm(eps, parameters),
        identity=fingerprint(attack),
        make=Detached(attack, classifier).bind,
        limit=_limit(chosen),
        per_image=False,
    )


def _limit(chosen: Attack) -> int | None:
    if chosen.limit is None:
        return None
    check_whole("limit", chosen.limit, least=1)
    return int(chosen.limit)


def _norm(eps: float, parameters: Mapping[str, Any]) -> str:
    """Return the norm that an ε is in; "" where there is no ε, or in another than `Norm`."""
    if math.isnan(eps):
        return ""
    # Attacks call them as ART does, or as other libraries.
    named: dict[Any, str] = {np.inf: Norm.LINF, "inf": Norm.LINF, "Linf": Norm.LINF}
    named |= {2: Norm.L2, "2": Norm.L2, "L2": Norm.L2}
    return str(named.get(parameters.get("norm", np.inf), ""))


def _number(value: Any) -> float:
    return float(value) if isinstance(value, Real) else float("nan")
