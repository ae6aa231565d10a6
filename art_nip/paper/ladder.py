"""The ladder: from the paper's 100 % down to what is left of it, one crutch less on each rung."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from art_nip import NIPPreprocessor, attacks, plots
from art_nip.benchmark.schema.words import Protocol, Threat
from art_nip.metrics import Proportion, l2_norm, predicted_classes
from art_nip.paper import tiny
from art_nip.paper.released import ReleasedEvaluation, defended_by_own
from art_nip.paper.setting import Made, Results, Setting
from art_nip.paper.subjects import Loaded, subjects
from art_nip.utils.seeds import seeded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

ATTACK: dict[str, Any] = {"eps": 4 / 255, "eps_step": 1 / 255, "max_iter": 10}
"""BIM of the fixed ε. Its minimum-norm form starts there, with steps of the same share."""

CHUNK = 50
"""How many images are attacked before the examples are written."""


@dataclass(frozen=True)
class Rung:
    """A rung of the ladder.

    :param number: its place.
    :param label: what is done, in few words.
    :param protocol: what the defender has of the images attacked.
    :param minimal: whether the examples are those of the smallest ε, else of the fixed one.
    :param threat: whether the attack knows of the defence.
    """

    number: str
    label: str
    protocol: Protocol
    minimal: bool = False
    threat: Threat = Threat.OBLIVIOUS


RUNGS: dict[str, Rung] = {
    "released": Rung("1", "as released: own ρ, label picks the sign", Protocol.RELEASED, True),
    "unlabelled": Rung("2", "own ρ, without the label", Protocol.RELEASED, True),
    "noise-labelled": Rung("3a", "noise for ρ, label picks the sign", Protocol.RELEASED, True),
    "noise": Rung("3b", "noise for ρ, without the label", Protocol.RELEASED, True),
    "equation-minimal": Rung("4", "own ρ by equation 7", Protocol.RELEASED, True),
    "equation": Rung("5", "own ρ by equation 7, fixed ε", Protocol.RELEASED),
    "nearest": Rung("6", "ρ found by nearest neurons, fixed ε, leaked", Protocol.LEAKED),
    "leaked": Rung("7", "ρ found by δ, fixed ε, leaked", Protocol.LEAKED),
    "held-out": Rung("8", "NIP of the paper: δ, fixed ε, held-out", Protocol.HELD_OUT),
    "adaptive": Rung("9", "the same, adaptive attack", Protocol.HELD_OUT, threat=Threat.ADAPTIVE),
}


@dataclass(frozen=True)
class Outcome:
    """What was measured for one model on one rung.

    :param model: its label.
    :param rung: a name of `RUNGS`.
    :param hits: which of the adversarial examples are put right, shape (n,).
    :param l2: mean L2 norm of the perturbations, in images of [0, 1].
    """

    model: str
    rung: str
    hits: tuple[bool, ...]
    l2: float

    @property
    def rate(self) -> Proportion:
        """The share put right, with its Wilson interval."""
        return Proportion.of(np.array(self.hits, bool))


def ladder(setting: Setting) -> Made:
    """Make the ladder, as a table and as a picture."""
    outcomes = measure(setting)
    any_succeeded = any(outcome.hits for outcome in outcomes)
    return Made(markdown(outcomes), {"": figure(outcomes)} if any_succeeded else {})


def measure(setting: Setting) -> list[Outcome]:
    """Return all rungs of all models; what is in the folder already is not computed again.

    :raises FileNotFoundError: if weights or images are not there.
    """
    found = []
    for subject in subjects(setting):
        climb = Climb(subject, setting)
        found += [climb.outcome(rung) for rung in RUNGS]
    return found


class Climb:
    """One model on the ladder.

    :param subject: the model and its images.
    :param setting: of the run.
    """

    def __init__(self, subject: Loaded, setting: Setting) -> None:
        self._subject, self._setting = subject, setting
        self._results: Results = setting.results
        self._attack = tiny.LADDER if setting.tiny else ATTACK

    def outcome(self, rung: str) -> Outcome:
        """Return what a rung gives.

        :param rung: a name of `RUNGS`.
        """
        minimal = RUNGS[rung].minimal
        rungs: Mapping[str, Callable[[], Mask]] = {
            "released": lambda: self._released["own"].with_label,
            "unlabelled": lambda: self._released["own"].without_label,
            "noise-labelled": lambda: self._released["noise"].with_label,
            "noise": lambda: self._released["noise"].without_label,
            "equation-minimal": lambda: self._by_equation(minimal=True),
            "equation": lambda: self._by_equation(minimal=False),
            "nearest": lambda: self._defended(self._nip(leaked=True, retrieval="nearest")),
            "leaked": lambda: self._defended(self._nip(leaked=True)),
            "held-out": lambda: self._defended(self._held_out),
            "adaptive": self._adaptive,
        }

        def make() -> dict[str, Any]:
            self._say(f"rung {RUNGS[rung].number}, {RUNGS[rung].label}")
            started = time.perf_counter()
            with seeded(self._setting.seed):
                hits = rungs[rung]()
            x, x_adv = self._examples(minimal)
            return {
                "hits": [int(hit) for hit in hits],
                "l2": float(l2_norm(x, x_adv).mean()) if len(x) else float("nan"),
                "seconds": time.perf_counter() - started,
            }

        name = f"ladder-{self._subject.name}-{rung}"
        given = self._results.record(name, self._determined_by(minimal, bank=True), make)
        hits = tuple(bool(hit) for hit in given["hits"])
        return Outcome(self._subject.label, rung, hits, given["l2"])

    def _examples(self, minimal: bool) -> tuple[Floats, Floats]:
        """Return benign and adversarial images, of those that the attack leads to another class."""
        return self._minimal if minimal else self._fixed

    @cached_property
    def _minimal(self) -> tuple[Floats, Floats]:
        return self._successful(self._crafted(minimal=True))

    @cached_property
    def _fixed(self) -> tuple[Floats, Floats]:
        return self._successful(self._crafted(minimal=False))

    def _successful(self, x_adv: Floats) -> tuple[Floats, Floats]:
        wrong = self._classes(x_adv) != self._subject.y
        return self._subject.x[wrong], x_adv[wrong]

    def _crafted(self, minimal: bool) -> Floats:
        x, y, classifier = self._subject.x, self._subject.y, self._subject.classifier
        named = attacks.get("bim")
        kind = "minimal" if minimal else "fixed"
        parts = []
        starts = range(0, len(x), CHUNK)
        title = f"{self._subject.label}: attacking, {'smallest' if minimal else 'fixed'} ε"
        for start in tqdm(starts, title, disable=not self._setting.verbose):
            rows = slice(start, start + CHUNK)

            def make(rows: slice = rows) -> dict[str, npt.NDArray[Any]]:
                attack = named.create(classifier, minimal=minimal, **self._attack)
                with seeded(self._setting.seed):
                    return {"x": attack.generate(x[rows], y[rows])}

            name = f"examples-{self._subject.name}-{kind}-{start}"
            determined_by = self._determined_by(minimal, bank=False)
            parts.append(self._results.arrays(name, determined_by, make)["x"])
        return np.concatenate(parts)

    def _determined_by(self, minimal: bool, bank: bool) -> dict[str, Any]:
        return {
            **(self._subject.with_bank if bank else self._subject.identity),
            "attack": {**self._attack, "minimal": minimal},
        }

    @cached_property
    def _released(self) -> Mapping[str, Any]:
        x, x_adv = self._examples(minimal=True)
        return {
            direction: ReleasedEvaluation(direction, seed=self._setting.seed).evaluate(
                self._subject.classifier, x, x_adv
            )
            for direction in ("own", "noise")
        }

    def _by_equation(self, minimal: bool) -> Mask:
        x, x_adv = self._examples(minimal)
        if not len(x):
            return np.zeros(0, bool)
        moved = defended_by_own(self._subject.classifier, x, x_adv)
        mask: Mask = self._classes(moved) == self._classes(x)
        return mask

    def _nip(self, leaked: bool, **parameters: Any) -> NIPPreprocessor:
        nip = NIPPreprocessor.for_estimator(self._subject.classifier, verbose=False, **parameters)
        nip.fit(*((self._subject.x, self._subject.y) if leaked else self._subject.bank))
        return nip

    @cached_property
    def _held_out(self) -> NIPPreprocessor:
        return self._nip(leaked=False)

    def _defended(self, nip: NIPPreprocessor) -> Mask:
        x, x_adv = self._examples(minimal=False)
        if not len(x):
            return np.zeros(0, bool)
        mask: Mask = self._classes(nip(x_adv)[0]) == self._classes(x)
        return mask

    def _adaptive(self) -> Mask:
        """Return which images stay right through NIP, under BIM through it and under rung 8's."""
        x, x_adv = self._examples(minimal=False)
        if not len(x):
            return np.zeros(0, bool)
        nip, classes = self._held_out, self._classes(x)
        defended = nip.attach(self._subject.classifier)
        through = attacks.get("bim").create(defended, **self._attack).generate(x, classes)
        withstood = [
            predicted_classes(defended.predict(images)) == classes for images in (x_adv, through)
        ]
        mask: Mask = withstood[0] & withstood[1]
        return mask

    def _classes(self, x: Floats) -> npt.NDArray[np.int64]:
        if not len(x):
            return np.zeros(0, np.int64)
        return predicted_classes(self._subject.classifier.predict(x))

    def _say(self, text: str) -> None:
        if self._setting.verbose:
            tqdm.write(f"{self._subject.label}: {text}", file=sys.stderr)


def markdown(outcomes: list[Outcome]) -> str:
    """Return the table of the ladder: a row for each rung, a column for each model."""
    models = list(dict.fromkeys(outcome.model for outcome in outcomes))
    of = {(outcome.rung, outcome.model): outcome for outcome in outcomes}
    lines = [
        "| | examples | " + " | ".join(models) + " |",
        "|---|---|" + "---|" * len(models),
    ]
    for name, rung in RUNGS.items():
        cells = [str(of[name, model].rate) for model in models]
        size = "smallest ε" if rung.minimal else "fixed ε"
        lines.append(f"| {rung.number}. {rung.label} | {size} | " + " | ".join(cells) + " |")
    sizes = [
        f"{model}: {of['released', model].rate.n} examples of the smallest ε (mean L2 "
        f"{of['released', model].l2:.2f}), {of['equation', model].rate.n} of the fixed one "
        f"({of['equation', model].l2:.2f})"
        for model in models
    ]
    return "\n".join(
        [
            "Share of the successful adversarial examples that are classified as the benign image "
            "was, with 95 % Wilson intervals.",
            "",
            *lines,
            "",
            *(f"- {size}" for size in sizes),
            "",
        ]
    )


def figure(outcomes: list[Outcome]) -> Figure:
    """Return the picture of the ladder: a line for each rung, a marker for each model."""
    models = list(dict.fromkeys(outcome.model for outcome in outcomes))
    values: dict[str, dict[str, plots.Rate]] = {}
    for name, rung in RUNGS.items():
        rates = {outcome.model: outcome.rate for outcome in outcomes if outcome.rung == name}
        values[f"{rung.number}. {rung.label}"] = {
            model: (rate.value, rate.low, rate.high) for model, rate in rates.items()
        }
    return plots.rates(
        values,
        models,
        measure="share of adversarial examples put right",
        title="Where the paper's 100 % comes from",
    )
