"""Defences in one form, ready to be made for the classifier in any process.

The user gives them as names, as preprocessors of ART, or as trained classifiers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from art.defences.preprocessor.preprocessor import Preprocessor
from art.estimators.estimator import BaseEstimator

from art_nip import defences
from art_nip.attacks.surrogates import offers
from art_nip.benchmark.fingerprints import fingerprint
from art_nip.benchmark.plan.given import Named, check_labels, check_told, labelled, naming, written
from art_nip.benchmark.plan.serialization import Detached, packed, unpacked
from art_nip.benchmark.schema.description import DefenceRecord
from art_nip.benchmark.schema.words import NONE, Kind
from art_nip.nip.preprocessor import NIPPreprocessor
from art_nip.utils.ranges import same_range
from art_nip.utils.surrogates import OffersSurrogateLosses
from art_nip.utils.validation import check_classifier, plain
from art_nip.zoo.suppression import suppressing_layers


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
        check_told(self.label, self.parameters)


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

    def record(self) -> DefenceRecord:
        """Return it as the folder of results has it."""
        return DefenceRecord(self.label, self.name, written(self.parameters))


def defence_entries(
    given: Mapping[str, Any] | Iterable[Any], classifier: Any
) -> list[DefenceEntry]:
    """Return defences as entries, "none" first, with labels that differ.

    :param given: names, ART preprocessors, trained ART classifiers, and :class:`Defence`; or a
        mapping from labels to these.
    :param classifier: the undefended classifier.
    :raises ValueError: if a name or a parameter is not known, two have one label, or a trained
        classifier takes other images or knows fewer classes.
    :raises TypeError: if one is none of these.
    """
    entries = [
        _entry(defence, classifier)
        for defence in labelled("defence", given, Defence)
        if defence != NONE
    ]
    check_labels("defence", [entry.label for entry in entries], reserved=(NONE,))
    kind, offered = _of_classifier(classifier, Kind.NONE), bool(offers(classifier))
    none = DefenceEntry(NONE, NONE, {}, NONE, _no_defence, False, kind, offered)
    return [none, *entries]


def _no_defence(classifier: Any) -> None:
    """Return nothing: the classifier is left as it is."""


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


def _entry(given: Any, classifier: Any) -> DefenceEntry:
    chosen = given if isinstance(given, Defence) else Defence(given)
    chosen = replace(chosen, parameters=plain(chosen.parameters))
    if isinstance(chosen.defence, str):
        return _named(chosen)
    if chosen.parameters:
        raise ValueError("A defence that is no name has its parameters already: give none with it.")
    if isinstance(chosen.defence, Preprocessor):
        return _preprocessor(chosen, classifier)
    if isinstance(chosen.defence, BaseEstimator):
        return _trained(chosen, classifier)
    raise TypeError(
        f"{chosen.defence!r} is no defence: give a name ({', '.join(defences.NAMES)}), an ART "
        "preprocessor, a trained ART classifier, or Defence(one of these, …)."
    )


def _named(chosen: Defence) -> DefenceEntry:
    name = chosen.defence
    named = defences.get(name)
    with naming("defence", name):
        named.check_parameters(chosen.parameters)
    parameters = {**named.defaults, **chosen.parameters}
    return DefenceEntry(
        label=chosen.label or name,
        name=name,
        parameters=parameters,
        identity=fingerprint("defence", name, parameters),
        make=Named(named, dict(chosen.parameters)),
        learns=named.learns,
        kind=_kind(named.family),
        offers_surrogates=issubclass(named.family, OffersSurrogateLosses),
    )


def _preprocessor(chosen: Defence, classifier: Any) -> DefenceEntry:
    defence, kind = chosen.defence, type(chosen.defence)
    label = chosen.label or kind.__name__
    if not defence.apply_predict:
        raise ValueError(
            f"The defence {label!r} is one of training, and left out when a classifier predicts: "
            "make it with apply_predict=True."
        )
    return DefenceEntry(
        label=label,
        name=kind.__name__,
        parameters={name: getattr(defence, name, None) for name in defence.params},
        identity=fingerprint(defence),
        make=Detached(defence, classifier).bind,
        learns=_learns(kind),
        kind=_kind(kind),
        offers_surrogates=isinstance(defence, OffersSurrogateLosses),
    )


def _trained(chosen: Defence, classifier: Any) -> DefenceEntry:
    defence, name = chosen.defence, type(chosen.defence).__name__
    _check_alike(defence, chosen.label or name, classifier)
    return DefenceEntry(
        label=chosen.label or name,
        name=name,
        parameters={},
        identity=fingerprint(defence),
        make=_Trained(defence),
        learns=False,
        kind=_of_classifier(defence, Kind.TRAINED),
        offers_surrogates=bool(offers(defence)),
    )


def _of_classifier(classifier: Any, otherwise: Kind) -> Kind:
    """Return the kind of what a classifier has in it; it may be the undefended one of a benchmark.

    :param otherwise: the kind of one that has nothing.
    """
    if suppressing_layers(getattr(classifier, "model", None)):
        return Kind.SUPPRESSING
    return Kind.PREPROCESSOR if classifier.preprocessing_defences else otherwise


def _check_alike(defence: Any, label: str, classifier: Any) -> None:
    """Raise an error unless a trained defence takes the images and knows the classes.

    In another range, what an attack on it does would be measured in the wrong unit.
    """
    check_classifier(defence, f"The defence {label!r}")
    theirs, ours = defence.clip_values, classifier.clip_values
    same = tuple(defence.input_shape) == tuple(classifier.input_shape)
    # Without a range, it says itself that it cannot be attacked.
    if not same or (theirs is not None and not same_range(theirs, ours)):
        raise ValueError(
            f"The defence {label!r} takes images of shape {tuple(defence.input_shape)} in "
            f"{theirs}, and the benchmark's classifier of shape {tuple(classifier.input_shape)} "
            f"in {ours}: give both the same input_shape and clip_values, and convert images in "
            "the model or its preprocessing."
        )
    if defence.nb_classes < classifier.nb_classes:
        raise ValueError(
            f"The defence {label!r} knows {defence.nb_classes} classes, and the benchmark's "
            f"classifier {classifier.nb_classes}: give one that knows all of them."
        )


def _learns(kind: Any) -> bool:
    """Return whether a class of preprocessors has something to fit; ART's own `fit` is empty."""
    return getattr(kind, "fit", Preprocessor.fit) is not Preprocessor.fit


def _kind(kind: Any) -> Kind:
    """Return which kind of defence a class is."""
    if issubclass(kind, NIPPreprocessor):
        return Kind.NIP
    return Kind.PREPROCESSOR if issubclass(kind, Preprocessor) else Kind.TRAINED
