"""The work itself: crafting a set of adversarial examples, and classifying a set through a defence.

A task is run in whatever process; it gets a workbench there, and gives back a result or an error.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences.transformer.transformer import Transformer
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_nip.benchmark.gradient_checks import inspect
from art_nip.benchmark.resolve import AttackEntry, DefenceEntry
from art_nip.benchmark.serialization import packed, unpacked
from art_nip.benchmark.store import Result
from art_nip.estimators.clones import defended
from art_nip.estimators.pass_counting import counting
from art_nip.estimators.single_precision import single_precision
from art_nip.metrics import psnr, top_k_neuron_consistency
from art_nip.nip.preprocessor import NIPPreprocessor
from art_nip.utils.seeds import seeded

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

COUNTED = 4
"""On how many images the passes of a classification are counted; this also warms up."""

LONG = 30
"""Seconds from which a task says how long it will take."""


@dataclass(frozen=True)
class ReadyDefence:
    """A defence and what it is to be fitted on.

    :param entry: how to make it.
    :param key: of the fitted defence.
    :param bank: benign images and classes; None if it learns nothing.
    """

    entry: DefenceEntry
    key: str
    bank: tuple[Images, Labels] | None


class Workbench:
    """The classifier in a process, and the defences that were fitted for it there.

    :param classifier: an ART classifier.
    :param key: its fingerprint; in another process there is one workbench for each.
    """

    def __init__(self, classifier: Any, key: str) -> None:
        self._given, self._key = classifier, key
        self._defences: dict[str, Any] = {}
        self._payload: bytes | None = None
        self.classifier = single_precision(classifier)

    @cached_property
    def influence(self) -> Callable[[Images], npt.NDArray[np.float32]] | None:
        """What gives the neurons' influence, or None where they cannot be seen."""
        try:
            # Defences may leave the clip range.
            anywhere = (-np.inf, np.inf)
            return NIPPreprocessor.for_estimator(self.classifier, clip_values=anywhere).influence
        except (TypeError, ValueError):
            return None

    def defence(self, ready: ReadyDefence) -> Any:
        """Return a defence, fitted if it learns."""
        if ready.bank is None:
            # Anew for each task: it may have a state, of which no other task is to know.
            return ready.entry.make(self.classifier)
        if ready.key not in self._defences:
            defence = ready.entry.make(self.classifier)
            with seeded(_seed(ready.key)):
                defence.fit(*ready.bank)
            transforms = isinstance(defence, Transformer)
            self._defences[ready.key] = defence.get_classifier() if transforms else defence
        return self._defences[ready.key]

    def defended(self, ready: ReadyDefence) -> Any:
        """Return the classifier with a defence before it, or the one that takes its place."""
        defence = self.defence(ready)
        if defence is None:
            return self.classifier
        if isinstance(defence, BaseEstimator):
            return single_precision(defence)
        return defended(self.classifier, defence, in_front=True)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._payload is None:
            self._payload = packed(self._given)
        return _arrived, (self._key, self._payload)


_workbenches: dict[str, Workbench] = {}
_one_at_a_time = threading.Lock()


def _arrived(key: str, payload: bytes) -> Workbench:
    if key not in _workbenches:
        _workbenches[key] = Workbench(unpacked(payload), key)
    return _workbenches[key]


@dataclass(frozen=True)
class Crafting:
    """Crafting adversarial examples.

    :param key: of the result.
    :param attack: what to attack with.
    :param through: the defence that the attack goes through; None attacks the bare classifier.
    :param x: the images to attack.
    :param y: their true classes.
    :param verbose: whether a slow attack says how long it will take.
    """

    key: str
    attack: AttackEntry
    through: ReadyDefence | None
    x: Images
    y: Labels
    verbose: bool

    kind = "adversarial"

    def run(self, workbench: Workbench) -> Result:
        """Return the adversarial examples, `x`, and what they cost."""
        target = workbench.defended(self.through) if self.through else workbench.classifier
        if self.verbose and self.attack.limit is not None and self.attack.per_image:
            self._try_one(target)
        with seeded(_seed(self.key)), counting(target) as passes:
            attack = self.attack.make(target)
            started = time.perf_counter()
            adversarial = np.asarray(attack.generate(self.x, self.y), np.float32)
            seconds = time.perf_counter() - started
        facts: dict[str, Any] = {"seconds": seconds}
        if passes is not None:
            facts |= {"forward": passes.forward, "backward": passes.backward}
        return Result({"x": adversarial}, facts)

    def _try_one(self, target: Any) -> None:
        """Attack one image for the time that it takes, and leave no trace in the results."""
        with seeded(_seed(self.key)):
            attack = self.attack.make(target)
            started = time.perf_counter()
            attack.generate(self.x[:1], self.y[:1])
            _announce(self.attack.label, time.perf_counter() - started, len(self.x))


@dataclass(frozen=True)
class Classifying:
    """Classifying images through a defence.

    :param key: of the result.
    :param defence: what the images go through.
    :param x: the images, benign or adversarial.
    :param reference: the benign images.
    :param verbose: whether a slow defence says how long it will take.
    """

    key: str
    defence: ReadyDefence
    x: Images
    reference: Images
    verbose: bool

    kind = "predictions"

    def run(self, workbench: Workbench) -> Result:
        """Return `classes`, and `psnr` and `tknc` of what the classifier sees to the benign images.

        The last two are not there for a trained classifier, whose neurons are others; `tknc` is not
        where the neurons cannot be seen.
        """
        defence, bare = workbench.defence(self.defence), workbench.classifier
        trained = isinstance(defence, BaseEstimator)
        decider = single_precision(defence) if trained else bare

        def seen(images: Images) -> Images:
            if trained or defence is None:
                return images
            return np.asarray(defence(images)[0], np.float32)

        with seeded(_seed(self.key)):
            with counting(decider) as passes:
                started = time.perf_counter()
                decider.predict(seen(self.x[:COUNTED]))
                if self.verbose:
                    each = (time.perf_counter() - started) / len(self.x[:COUNTED])
                    _announce(self.defence.entry.label, each, len(self.x))
            started = time.perf_counter()
            images = seen(self.x)
            classes = np.asarray(decider.predict(images)).argmax(axis=1)
            seconds = time.perf_counter() - started
        facts: dict[str, Any] = {"seconds": seconds}
        if passes is not None:
            n = min(COUNTED, len(self.x))
            facts |= {
                "forward_per_image": passes.forward / n,
                "backward_per_image": passes.backward / n,
            }
        arrays = {"classes": classes.astype(np.int64)}
        if not trained:
            arrays["psnr"] = psnr(self.reference, images, bare.clip_values)
            if workbench.influence is not None:
                arrays["tknc"] = top_k_neuron_consistency(
                    workbench.influence(self.reference), workbench.influence(images)
                )
        return Result(arrays, facts)


@dataclass(frozen=True)
class Inspecting:
    """Looking closer at a defended classifier; see `art_nip.benchmark.gradient_checks`.

    :param key: of the result.
    :param defence: what stands before the classifier, or in its place.
    :param x: benign images.
    """

    key: str
    defence: ReadyDefence
    x: Images

    kind = "inspections"

    def run(self, workbench: Workbench) -> Result:
        """Return what `inspect` finds, as facts."""
        with seeded(_seed(self.key)):
            return Result(facts=inspect(workbench.defended(self.defence), self.x))


Task = Crafting | Classifying | Inspecting


def perform(workbench: Workbench, task: Task) -> tuple[str, str, Result]:
    """Return a task's kind, key and result; an error is a result, and does not stop the others."""
    try:
        # Seeds, and whether TensorFlow is eager, are of the process; a worker of Dask has threads.
        with _one_at_a_time:
            result = task.run(workbench)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        result = Result(facts={"error": text, "traceback": traceback.format_exc()})
    return task.kind, task.key, result


def _announce(label: str, seconds: float, n: int) -> None:
    """Say how long a slow task will take, from what its first images took each."""
    if n * seconds > LONG:
        tqdm.write(
            f"{label}: {seconds:.1f} s for the first of {n} images, at most about "
            f"{n * seconds / 60:.1f} min for all.",
            file=sys.stderr,
        )


def _seed(key: str) -> int:
    """Return a seed that is a task's own, whatever runs before it."""
    return int(key[:8], 16)
