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
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from art.estimators.estimator import BaseEstimator
from tqdm.auto import tqdm

from art_nip.attacks.foreign.autoattack import AutoAttack
from art_nip.attacks.surrogates import led_by
from art_nip.benchmark.execution.cascade import Cascade
from art_nip.benchmark.execution.draws import answers
from art_nip.benchmark.execution.gradient_checks import inspect
from art_nip.benchmark.execution.images import Images, Labels
from art_nip.benchmark.execution.protection import generated, own, protected
from art_nip.benchmark.execution.store import Result
from art_nip.benchmark.execution.workbench import ReadyDefence, Workbench, seed_of
from art_nip.benchmark.plan.attacks import AttackEntry
from art_nip.benchmark.schema.words import NONE
from art_nip.estimators.pass_counting import counting
from art_nip.metrics import (
    l0_norm,
    l2_norm,
    linf_norm,
    predicted_classes,
    psnr,
    top_k_neuron_consistency,
)
from art_nip.utils.seeds import seeded

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

_task_lock = threading.Lock()


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
            self._try_one(workbench)
        target = self._target(workbench)
        with seeded(seed_of(self.key)), counting(target) as passes:
            attack = self._made(target, workbench)
            started = time.perf_counter()
            adversarial = generated(attack, self.x, self.y)
            seconds = time.perf_counter() - started
        facts: dict[str, Any] = {"seconds": seconds}
        if passes is not None:
            facts |= {"forward": passes.forward, "backward": passes.backward}
        arrays: dict[str, npt.NDArray[Any]] = {"x": adversarial}
        if isinstance(attack, (AutoAttack, Cascade)):
            facts["flags"] = list(attack.flags)
        if isinstance(attack, Cascade):
            arrays["broken_by"] = attack.broken_by
        # Kept, so that no table has to read all images again.
        between = self.x, adversarial, workbench.classifier.clip_values
        arrays |= {name: norm(*between) for name, norm in NORMS.items()}
        return Result(arrays, facts)

    def _target(self, workbench: Workbench) -> Any:
        """Return the classifier to attack, behind its own copy of the defence if there is one."""
        return workbench.defended(self.through) if self.through else workbench.classifier

    def _made(self, target: Any, workbench: Workbench) -> Any:
        """Return the attack on the target, or the attacks of a cascade."""
        bare, attack = workbench.classifier, self.attack
        if not attack.parts:
            return _on(attack, target, bare)
        norm = NORMS[attack.budget_norm]
        return Cascade(
            [(str(part.role), partial(_on, part, target, bare)) for part in attack.parts],
            target.predict,
            lambda x, adversarial: norm(x, adversarial, bare.clip_values),
            attack.budget,
            self._say,
        )

    def _say(self, line: str) -> None:
        if self.verbose:
            through = self.through.entry.label if self.through else NONE
            tqdm.write(f"{self.attack.label}, {through}: {line}", file=sys.stderr)

    def _try_one(self, workbench: Workbench) -> None:
        """Attack one image to measure how long it takes; the results do not change."""
        target = self._target(workbench)
        with seeded(seed_of(self.key)):
            attack = self._made(target, workbench)
            started = time.perf_counter()
            generated(attack, self.x[:1], self.y[:1])
            _announce(self.attack.label, time.perf_counter() - started, len(self.x))


def _on(attack: AttackEntry, target: Any, bare: Any) -> Any:
    """Return an attack on the classifier that it goes through, or is to lead astray.

    :param target: the classifier behind the defence.
    :param bare: the same without it.
    """
    if attack.make is None:
        raise ValueError(f"{attack.label} is a cascade; its parts are made.")
    if not attack.through:
        target = bare
    elif attack.by_undefended:
        target = led_by(target, bare)
    return attack.make(target)


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

        with seeded(seed_of(self.key)):
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
        with seeded(seed_of(self.key)):
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
