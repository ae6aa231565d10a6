"""Attacks and defences in one form, ready to be made for any classifier in any process.

The user gives them as names, as objects of ART, or as trained classifiers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any

import numpy as np
from art.attacks.attack import EvasionAttack
from art.defences.preprocessor.preprocessor import Preprocessor
from art.estimators.estimator import BaseEstimator

from art_nip import attacks, defences
from art_nip.attacks.labels import takes_true_classes
from art_nip.attacks.surrogates import offers
from art_nip.benchmark.fingerprints import fingerprint
from art_nip.benchmark.plan import suite as adaptive
from art_nip.benchmark.plan.serialization import Detached, alike, packed, unpacked
from art_nip.benchmark.schema import BENIGN, NEAREST, NONE, Kind, Norm, Role, Threat
from art_nip.estimators.clones import defended
from art_nip.nip.preprocessor import NIPPreprocessor
from art_nip.utils.frameworks import framework_of
from art_nip.utils.surrogates import OffersSurrogateLosses
from art_nip.utils.validation import check_choice, check_whole, plain
from art_nip.zoo.suppression import suppressing_layers


@dataclass(frozen=True)
class Attack:
    """A named attack with other parameters than its own, or ART's attack with a label or a limit.

    :param attack: a name, or an ART attack; "adaptive" stands for the whole suite of
        `art_nip.benchmark.plan.suite`, with its parameters `eps`, `max_iter` and `queries`.
    :param label: its label in tables; None takes the name, or the class of the attack.
    :param parameters: parameters of a named attack.
    :param limit: how many images are attacked, the first ones; None takes the named attack's own.
    """

    attack: Any
    label: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None

    def __post_init__(self) -> None:
        _check_told(self.label, self.parameters)


@dataclass(frozen=True)
class Defence:
    """A named defence with other parameters than its own, or any defence with a label.

    :param defence: a name, an ART preprocessor, or an ART classifier that is itself a defence.
    :param label: its label in tables; None takes the name, or the class.
    :param parameters: parameters of a named defence.
    """

    defence: Any
    label: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_told(self.label, self.parameters)


def _check_told(label: Any, parameters: Any) -> None:
    """Raise a TypeError unless a label is text and parameters have names."""
    if label is not None and not isinstance(label, str):
        raise TypeError(f"label={label!r}; give text, or None for the name.")
    if not isinstance(parameters, Mapping):
        raise TypeError(
            f"parameters={parameters!r}; give a mapping from names to values, such as "
            '{"eps": 8 / 255}.'
        )


@dataclass(frozen=True)
class AttackEntry:
    """An attack, ready to be made for any classifier, in any process.

    :param label: its label in tables.
    :param name: the name of a named attack, else the class.
    :param parameters: its parameters, as reports show them.
    :param eps: the ε of the attack, NaN where it has none.
    :param norm: the norm that this ε is in, one of `Norm`; "" where it has none, or in another.
    :param identity: fingerprint of what determines it.
    :param make: takes a classifier, and returns the ART attack on it.
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
    """

    label: str
    name: str
    parameters: dict[str, Any]
    eps: float
    identity: str
    make: Callable[[Any], Any]
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

    def fits(self, defence: DefenceEntry) -> bool:
        """Return whether it is made for such a defence."""
        offered = defence.offers_surrogates or not self.by_surrogates
        return defence.kind in self.kinds and offered


@dataclass(frozen=True)
class DefenceEntry:
    """A defence, ready to be made for the classifier, in any process.

    :param label: its label in tables.
    :param name: the name of a named defence, else the class.
    :param parameters: its parameters, as reports show them.
    :param identity: fingerprint of what determines it.
    :param make: takes the classifier, and returns the defence.
    :param learns: whether it is fitted on benign images.
    :param kind: its kind.
    :param offers_surrogates: whether it offers surrogate losses, see
        :class:`art_nip.utils.surrogates.OffersSurrogateLosses`.
    """

    label: str
    name: str
    parameters: dict[str, Any]
    identity: str
    make: Callable[[Any], Any]
    learns: bool
    kind: Kind
    offers_surrogates: bool = False


class _Named:
    """Makes a named attack or defence. It is a class because inner functions cannot be pickled."""

    def __init__(self, named: Any, parameters: Mapping[str, Any]) -> None:
        self._create, self._parameters = named.create, dict(parameters)

    def __call__(self, classifier: Any) -> Any:
        return self._create(classifier, **self._parameters)


class _Trained:
    """Returns a trained classifier that is a defence."""

    def __init__(self, estimator: Any) -> None:
        self._estimator = estimator

    def __call__(self, classifier: Any) -> Any:
        return self._estimator

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (packed(self._estimator),)


def _restored(payload: bytes) -> _Trained:
    return _Trained(unpacked(payload))


def attack_entries(given: Iterable[Any], classifier: Any) -> list[AttackEntry]:
    """Return attacks as entries, with labels that differ.

    :param given: names, ART attacks, and :class:`Attack`.
    :param classifier: the classifier that ART's attacks were made for.
    :raises ValueError: if a name or a parameter is not known, or two have one label.
    :raises TypeError: if one is none of these.
    """
    entries = [
        entry
        for attack in _listed("attack", given, Attack)
        for entry in _attack_entries(attack, classifier)
    ]
    _check_labels("attack", [entry.label for entry in entries], reserved=(BENIGN, NEAREST))
    return entries


def check_suites(entries: Iterable[AttackEntry], threats: Sequence[str]) -> None:
    """Raise a ValueError if there is an adaptive suite, and nothing is attacked adaptively."""
    for entry in entries:
        if entry.suite and Threat.ADAPTIVE not in threats:
            raise ValueError(
                f'The attacks {entry.suite!r} go through the defences: add "adaptive" to threats, '
                f"which are {', '.join(threats)}."
            )


def defence_entries(
    given: Mapping[str, Any] | Iterable[Any], classifier: Any
) -> list[DefenceEntry]:
    """Return defences as entries, "none" first, with labels that differ.

    :param given: names, ART preprocessors, trained ART classifiers, and :class:`Defence`; or a
        mapping from labels to these.
    :param classifier: the undefended classifier.
    :raises ValueError: if a name or a parameter is not known, or two have one label.
    :raises TypeError: if one is none of these.
    """
    listed = _listed("defence", given, Defence)
    entries = [_defence_entry(defence, classifier) for defence in listed if defence != NONE]
    _check_labels("defence", [entry.label for entry in entries], reserved=(NONE,))
    return [DefenceEntry(NONE, NONE, {}, NONE, _no_defence, learns=False, kind=Kind.NONE), *entries]


def _listed(what: str, given: Any, kind: type[Attack] | type[Defence]) -> list[Any]:
    """Return attacks or defences as a list.

    :param what: "attack" or "defence", for messages.
    :param given: several of them, or a mapping from labels to them.
    :param kind: the class that holds one of them with a label.
    """
    if isinstance(given, Mapping):
        return [
            replace(item, label=label) if isinstance(item, kind) else kind(item, label)
            for label, item in given.items()
        ]
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(
            f"The {what}s are {given!r}; give a list, also of one: [{given!r}]."
            if isinstance(given, str)
            else f"The {what}s are one {type(given).__name__}; give a list, also of one: [{what}]."
        )
    return list(given)


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
    if not isinstance(entry.make, _Named):
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


def _no_defence(classifier: Any) -> None:
    """Return nothing: the classifier is left as it is."""


def _attack_entries(given: Any, classifier: Any) -> list[AttackEntry]:
    chosen = given if isinstance(given, Attack) else Attack(given)
    chosen = replace(chosen, parameters=plain(chosen.parameters))
    if not isinstance(chosen.attack, str) or chosen.attack.lower() != adaptive.SUITE:
        return [_attack_entry(chosen, classifier)]
    check_choice("attack", chosen.attack, (adaptive.SUITE, *attacks.NAMES))
    parameters = adaptive.settled(chosen.parameters)
    label = chosen.label or adaptive.SUITE
    limit = adaptive.LIMIT if chosen.limit is None else chosen.limit
    return [
        _of_suite(member, label, parameters, limit, classifier)
        for member in adaptive.members(**parameters)
        if member.frameworks is None or framework_of(classifier) in member.frameworks
    ]


def _of_suite(
    member: adaptive.Member, suite: str, settled: Mapping[str, Any], limit: int, classifier: Any
) -> AttackEntry:
    attack = Attack(member.attack, f"{suite}: {member.role}", member.parameters, limit)
    entry = _attack_entry(attack, classifier)
    identity = entry.identity
    if member.by_undefended:
        identity = fingerprint(identity, "by undefended")
    return replace(
        entry,
        identity=identity,
        suite=suite,
        budget=settled["eps"],
        budget_norm=Norm(settled["norm"]),
        role=member.role,
        kinds=member.kinds,
        by_surrogates=member.by_surrogates,
        by_undefended=member.by_undefended,
        through=member.through,
    )


def _attack_entry(chosen: Attack, classifier: Any) -> AttackEntry:
    attack, limit = chosen.attack, chosen.limit
    if limit is not None:
        check_whole("limit", limit, least=1)
        limit = int(limit)
    if isinstance(attack, str):
        named = attacks.get(attack)
        with _naming("attack", attack):
            parameters = named.resolved(chosen.parameters)
        eps = _number(None if parameters.get(attacks.MINIMAL) else parameters.get("eps"))
        return AttackEntry(
            label=chosen.label or attack,
            name=attack,
            parameters=parameters,
            eps=eps,
            norm=_norm(eps, parameters),
            identity=fingerprint("attack", attack, parameters),
            make=_Named(named, chosen.parameters),
            limit=named.limit if limit is None else limit,
            per_image=named.per_image,
        )
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
    return AttackEntry(
        label=chosen.label or kind,
        name=kind,
        parameters=parameters,
        eps=eps,
        norm=_norm(eps, parameters),
        identity=fingerprint(attack),
        make=Detached(attack, classifier).bind,
        limit=limit,
        per_image=False,
    )


def _defence_entry(given: Any, classifier: Any) -> DefenceEntry:
    chosen = given if isinstance(given, Defence) else Defence(given)
    chosen = replace(chosen, parameters=plain(chosen.parameters))
    defence = chosen.defence
    if isinstance(defence, str):
        named = defences.get(defence)
        with _naming("defence", defence):
            named.check_parameters(chosen.parameters)
        parameters = {**named.defaults, **chosen.parameters}
        return DefenceEntry(
            label=chosen.label or defence,
            name=defence,
            parameters=parameters,
            identity=fingerprint("defence", defence, parameters),
            make=_Named(named, chosen.parameters),
            learns=named.learns,
            kind=_kind(named.family),
            offers_surrogates=issubclass(named.family, OffersSurrogateLosses),
        )
    if chosen.parameters:
        raise ValueError("A defence that is no name has its parameters already: give none with it.")
    kind = type(defence).__name__
    if isinstance(defence, Preprocessor):
        if not defence.apply_predict:
            raise ValueError(
                f"The defence {chosen.label or kind!r} is one of training, and left out when a "
                "classifier predicts: make it with apply_predict=True."
            )
        return DefenceEntry(
            label=chosen.label or kind,
            name=kind,
            parameters={name: getattr(defence, name, None) for name in defence.params},
            identity=fingerprint(defence),
            make=Detached(defence, classifier).bind,
            learns=_learns(type(defence)),
            kind=_kind(type(defence)),
            offers_surrogates=isinstance(defence, OffersSurrogateLosses),
        )
    if isinstance(defence, BaseEstimator):
        identity, make = fingerprint(defence), _Trained(defence)
        suppressing = suppressing_layers(getattr(defence, "model", None))
        return DefenceEntry(
            chosen.label or kind,
            kind,
            {},
            identity,
            make,
            learns=False,
            kind=Kind.SUPPRESSING if suppressing else Kind.TRAINED,
            offers_surrogates=bool(offers(defence)),
        )
    raise TypeError(
        f"{defence!r} is no defence: give a name ({', '.join(defences.NAMES)}), an ART "
        "preprocessor, a trained ART classifier, or Defence(one of these, …)."
    )


def _learns(kind: Any) -> bool:
    """Return whether a class of preprocessors has something to fit; ART's own `fit` is empty."""
    return getattr(kind, "fit", Preprocessor.fit) is not Preprocessor.fit


def _kind(kind: Any) -> Kind:
    """Return which kind of defence a class is."""
    if issubclass(kind, NIPPreprocessor):
        return Kind.NIP
    return Kind.PREPROCESSOR if issubclass(kind, Preprocessor) else Kind.TRAINED


@contextmanager
def _naming(what: str, name: str) -> Iterator[None]:
    """Add the name of the attack or defence to errors about its parameters."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if repr(name) in str(error):
            raise
        raise ValueError(f"The {what} {name!r}: {error}") from error


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


def _check_labels(what: str, labels: Sequence[str], reserved: Sequence[str]) -> None:
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(
                f"Two {what}s are called {label!r}: give one another label, {what.title()}(…, "
                'label="…").'
            )
        if label in reserved:
            raise ValueError(f"No {what} can be called {label!r}: the tables use it otherwise.")
