"""The tasks: crafting adversarial examples, classifying images through a defence, inspecting it.

A task runs in any process. It gets a workbench there, and returns a result or an error.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt
from art.defences.transformer.transformer import Transformer
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_nip.attacks.foreign.autoattack import AutoAttack
from art_nip.attacks.labels import labels_for
from art_nip.attacks.surrogates import led_by
from art_nip.benchmark.execution.draws import answers
from art_nip.benchmark.execution.gradient_checks import inspect
from art_nip.benchmark.execution.images import writable
from art_nip.benchmark.execution.protection import own, protected
from art_nip.benchmark.execution.store import Result
from art_nip.benchmark.plan.resolve import AttackEntry, DefenceEntry
from art_nip.benchmark.plan.serialization import Detached, packed, unpacked
from art_nip.estimators.clones import defended
from art_nip.estimators.pass_counting import counting
from art_nip.metrics import (
    l0_norm,
    l2_norm,
    linf_norm,
    predicted_classes,
    psnr,
    top_k_neuron_consistency,
)
from art_nip.nip.preprocessor import NIPPreprocessor
from art_nip.nip.shared_pass import sharing
from art_nip.utils.seeds import seeded

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

NORMS: dict[str, Callable[..., npt.NDArray[Any]]] = {
    "l0": l0_norm,
    "l2": l2_norm,
    "linf": linf_norm,
}
"""The sizes of perturbations that are kept beside the adversarial examples."""

IMAGES_TO_COUNT_PASSES = 4
"""The number of images on which passes are counted; classifying them is also the warm-up."""

SECONDS_TO_ANNOUNCE = 30
"""The expected duration from which a task is announced."""

WORKBENCHES_KEPT = 2
"""The number of workbenches that a worker keeps; it may work for many benchmarks."""

FITTED_DEFENCES_KEPT = 32
"""The number of fitted defences that a worker keeps for a classifier; others are fitted again."""

T = TypeVar("T")


@dataclass(frozen=True)
class ReadyDefence:
    """A defence and the images to fit it on.

    :param entry: how to make the defence.
    :param key: key of the fitted defence.
    :param bank: benign images and classes; None if the defence learns nothing.
    """

    entry: DefenceEntry
    key: str
    bank: tuple[Images, Labels] | None


class Latest(Generic[T]):
    """A cache of the values that were asked for last, by their keys; others are forgotten.

    :param size: the number of values kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._values: dict[str, T] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: str, make: Callable[[], T]) -> T:
        """Return the value of a key; it is made if it is not there."""
        with self._lock:
            value = self._values.pop(key) if key in self._values else make()
            self._values[key] = value
            while len(self._values) > self._size:
                del self._values[next(iter(self._values))]
            return value


class Workbench:
    """The classifier in a process, and the defences that were fitted for it there.

    :param classifier: an ART classifier.
    :param key: its fingerprint; other processes keep one workbench for each fingerprint.
    """

    def __init__(self, classifier: Any, key: str) -> None:
        self._given, self._key = classifier, key
        self._fitted: Latest[Any] = Latest(FITTED_DEFENCES_KEPT)
        self._payload: bytes | None = None
        self.classifier = protected(classifier)

    @cached_property
    def influence(self) -> Callable[[Images], npt.NDArray[np.float32]] | None:
        """The function that returns the neurons' influence; None where neurons cannot be seen."""
        try:
            # Defences may leave the clip range.
            anywhere = (-np.inf, np.inf)
            return NIPPreprocessor.for_estimator(self.classifier, clip_values=anywhere).influence
        except (TypeError, ValueError):
            return None

    def defence(self, ready: ReadyDefence) -> Any:
        """Return a defence, fitted if it learns.

        A NIP that answers in the model's place is returned as the classifier that it makes. No
        other task has the same object, as it may have a state.
        """
        if ready.bank is None:
            return ready.entry.make(self.classifier)
        bank = ready.bank
        fitted = self._fitted.get(ready.key, lambda: self._fit(ready, *bank))
        defence = fitted.bind(self.classifier) if isinstance(fitted, Detached) else fitted
        if isinstance(defence, NIPPreprocessor) and defence.retrieval.answers:
            return defence.attach(self.classifier)
        return defence

    def defended(self, ready: ReadyDefence) -> Any:
        """Return the classifier behind a defence, or the trained defence that takes its place."""
        return self.behind(self.defence(ready))

    def behind(self, defence: Any) -> Any:
        """Return the classifier behind a defence, or the defence itself if it is a classifier."""
        if defence is None:
            return self.classifier
        if isinstance(defence, BaseEstimator):
            return protected(defence)
        return sharing(defended(self.classifier, defence, in_front=True), defence)

    def _fit(self, ready: ReadyDefence, images: Images, classes: Labels) -> Any:
        """Return a fitted defence, ready to be bound; or the classifier that it makes."""
        defence = ready.entry.make(self.classifier)
        with seeded(_seed(ready.key)):
            defence.fit(writable(images), classes.copy())
        if isinstance(defence, Transformer):
            return defence.get_classifier()
        return Detached(defence, self.classifier)

    def __reduce__(self) -> tuple[Any, ...]:
        if self._payload is None:
            self._payload = packed(self._given)
        return _restored, (self._key, self._payload)


_workbenches: Latest[Workbench] = Latest(WORKBENCHES_KEPT)
_task_lock = threading.Lock()


def _restored(key: str, payload: bytes) -> Workbench:
    return _workbenches.get(key, lambda: Workbench(unpacked(payload), key))


@dataclass(frozen=True)
class Crafting:
    """Crafting adversarial examples.

    :param key: key of the result.
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
        """Return the adversarial examples, `x`, their distances by `NORMS`, and their cost."""
        if self.verbose and self.attack.limit is not None and self.attack.per_image:
            self._try_one(self._target(workbench))
        target = self._target(workbench)
        with seeded(_seed(self.key)), counting(target) as passes:
            attack = self.attack.make(target)
            started = time.perf_counter()
            adversarial = np.asarray(
                attack.generate(self.x.copy(), labels_for(attack, self.y.copy())), np.float32
            )
            seconds = time.perf_counter() - started
        facts: dict[str, Any] = {"seconds": seconds}
        if passes is not None:
            facts |= {"forward": passes.forward, "backward": passes.backward}
        if isinstance(attack, AutoAttack):
            facts["flags"] = list(attack.flags)
        # Kept, so that no table has to read all images again.
        between = self.x, adversarial, workbench.classifier.clip_values
        sizes = {name: norm(*between) for name, norm in NORMS.items()}
        return Result({"x": adversarial, **sizes}, facts)

    def _target(self, workbench: Workbench) -> Any:
        """Return the classifier to attack, behind its own copy of the defence if there is one."""
        target = workbench.defended(self.through) if self.through else workbench.classifier
        return led_by(target, workbench.classifier) if self.attack.by_undefended else target

    def _try_one(self, target: Any) -> None:
        """Attack one image to measure how long it takes; the results do not change."""
        with seeded(_seed(self.key)):
            attack = self.attack.make(target)
            started = time.perf_counter()
            attack.generate(self.x[:1].copy(), labels_for(attack, self.y[:1].copy()))
            _announce(self.attack.label, time.perf_counter() - started, len(self.x))


@dataclass(frozen=True)
class Classifying:
    """Classifying images through a defence.

    :param key: key of the result.
    :param defence: what the images go through.
    :param x: the images, benign or adversarial.
    :param reference: the benign images.
    :param draws: how often a random defence is asked about an image.
    :param verbose: whether a slow defence says how long it will take.
    """

    key: str
    defence: ReadyDefence
    x: Images
    reference: Images
    draws: int
    verbose: bool

    kind = "predictions"

    def run(self, workbench: Workbench) -> Result:
        """Return `classes`, and `psnr` and `tknc` of what the classifier sees to the benign images.

        Of a random defence there are also `draws`, the classes of all draws, shape (N, draws), of
        which `classes` is the first. A trained defence has neither `psnr` nor `tknc`, as its
        neurons are others. There is no `tknc` where the neurons cannot be seen.
        """
        defence, bare = workbench.defence(self.defence), workbench.classifier
        trained = isinstance(defence, BaseEstimator)
        decider = protected(defence) if trained else bare

        def seen(images: Images) -> Images:
            if trained or defence is None:
                return images
            return np.asarray(defence(own(images))[0], np.float32)

        with seeded(_seed(self.key)):
            with counting(decider) as passes:
                started = time.perf_counter()
                decider.predict(seen(self.x[:IMAGES_TO_COUNT_PASSES]))
                if self.verbose:
                    seconds = time.perf_counter() - started
                    seconds /= len(self.x[:IMAGES_TO_COUNT_PASSES])
                    _announce(self.defence.entry.label, seconds, len(self.x))
            started = time.perf_counter()
            images = seen(self.x)
            scores = np.asarray(decider.predict(images))
            seconds = time.perf_counter() - started
            several = answers(scores, self.x, lambda x: decider.predict(seen(x)), self.draws)
        facts: dict[str, Any] = {"seconds": seconds}
        if passes is not None:
            n = min(IMAGES_TO_COUNT_PASSES, len(self.x))
            facts |= {
                "forward_per_image": passes.forward / n,
                "backward_per_image": passes.backward / n,
            }
        arrays: dict[str, npt.NDArray[Any]] = {"classes": predicted_classes(scores)}
        if several is not None:
            arrays["draws"] = several
        if not trained:
            arrays["psnr"] = psnr(self.reference, images, bare.clip_values)
            if workbench.influence is not None:
                arrays["tknc"] = top_k_neuron_consistency(
                    workbench.influence(own(self.reference)), workbench.influence(own(images))
                )
        return Result(arrays, facts)


@dataclass(frozen=True)
class Inspecting:
    """Inspecting a defended classifier; see `art_nip.benchmark.execution.gradient_checks`.

    :param key: key of the result.
    :param defence: the defence before the classifier, or in its place.
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
        # Seeds and TensorFlow's eager mode belong to the process, and a worker of Dask has threads.
        with _task_lock:
            result = task.run(workbench)
    except Exception as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())
        result = Result(facts={"error": text, "traceback": traceback.format_exc()})
    return task.kind, task.key, result


def _announce(label: str, seconds: float, n: int) -> None:
    """Say how long a slow task will take.

    :param seconds: time that one image took.
    :param n: number of images.
    """
    if n * seconds > SECONDS_TO_ANNOUNCE:
        tqdm.write(
            f"{label}: {seconds:.1f} s for the first of {n} images, at most about "
            f"{n * seconds / 60:.1f} min for all.",
            file=sys.stderr,
        )


def _seed(key: str) -> int:
    """Return the seed of a task, which depends only on its key, not on what runs before it."""
    return int(key[:8], 16)
