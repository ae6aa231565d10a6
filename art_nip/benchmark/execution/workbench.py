"""The classifier in a process, with the defences that were fitted for it there.

Tasks find both on a workbench. One that travels to another process is made anew there, once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from art.defences.transformer.transformer import Transformer
from art.estimators.estimator import BaseEstimator

from art_nip.benchmark.execution.images import Images, Labels, writable
from art_nip.benchmark.execution.protection import protected
from art_nip.benchmark.plan.defences import DefenceEntry
from art_nip.benchmark.plan.serialization import Detached, packed, unpacked
from art_nip.estimators.clones import defended
from art_nip.nip.preprocessor import NIPPreprocessor
from art_nip.nip.shared_pass import sharing
from art_nip.utils.frameworks import Framework, code_of, is_loaded
from art_nip.utils.kept import Kept
from art_nip.utils.seeds import seeded

WORKBENCHES_KEPT = 2
"""The number of workbenches that a worker keeps; it may work for many benchmarks."""

FITTED_DEFENCES_KEPT = 32
"""The number of fitted defences that a worker keeps for a classifier; others are fitted again."""


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


class Workbench:
    """The classifier in a process, and the defences that were fitted for it there.

    :param classifier: an ART classifier.
    :param key: its fingerprint; other processes keep one workbench for each fingerprint.
    """

    def __init__(self, classifier: Any, key: str) -> None:
        self._given, self._key = classifier, key
        self._fitted: Kept[Any] = Kept(FITTED_DEFENCES_KEPT)
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
        with seeded(seed_of(ready.key)):
            defence.fit(writable(images), classes.copy())
        if isinstance(defence, Transformer):
            return defence.get_classifier()
        return Detached(defence, self.classifier)

    @cached_property
    def _payload(self) -> bytes:
        return packed(self._given)

    def __reduce__(self) -> tuple[Any, ...]:
        settings = {
            framework: code_of("art_nip.utils", framework).numerics()
            for framework in (Framework.PYTORCH, Framework.TENSORFLOW)
            if is_loaded(framework)
        }
        return _restored, (self._key, self._payload, settings)


_workbenches: Kept[Workbench] = Kept(WORKBENCHES_KEPT)
_restoring = threading.Lock()


def _restored(key: str, payload: bytes, settings: dict[Framework, dict[str, Any]]) -> Workbench:
    """Return the workbench in another process, which takes over the settings of the first.

    They are of the process: benchmarks of other settings must not share a worker at a time.
    """
    # A worker of Dask has threads, and one workbench is enough for all of them.
    with _restoring:
        workbench = _workbenches.get(key, lambda: Workbench(unpacked(payload), key))
        for framework in filter(is_loaded, settings):
            code_of("art_nip.utils", framework).set_numerics(settings[framework])
        return workbench


def seed_of(key: str) -> int:
    """Return the seed of a task, which depends only on its key, not on what runs before it."""
    return int(key[:8], 16)
