"""The cells of a benchmark, attacks × defences × protocols × threats, and their keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.benchmark.fingerprints import fingerprint
from art_nip.benchmark.plan.attacks import AttackEntry
from art_nip.benchmark.plan.defences import DefenceEntry
from art_nip.benchmark.schema.words import BENIGN, NONE, Protocol, Threat

IMAGES_TO_INSPECT = 8
"""The number of images on which a defended classifier is inspected."""


@dataclass(frozen=True)
class Cell:
    """One combination of attack, defence, protocol and threat, and the keys of its data.

    :param adversarial: key of the adversarial examples; None for benign images.
    :param predictions: key of the defended classifier's predictions.
    :param through: whether the attack goes through the defence.
    """

    attack: str
    defence: str
    protocol: Protocol
    threat: Threat
    adversarial: str | None
    predictions: str
    through: bool = False


@dataclass(frozen=True)
class Inspected:
    """A defended classifier that the adaptive suite attacks, and that is therefore inspected.

    :param key: key of the result of the inspection.
    """

    defence: str
    protocol: Protocol
    key: str


class Grid:
    """All cells of a benchmark on given images, with their keys.

    :param classifier: the undefended classifier.
    :param attacks: the attacks on it.
    :param defences: its defences.
    :param protocols: how defences are fitted.
    :param threats: what attacks know of the defence.
    :param x: the images to evaluate on, shape (N, *input_shape).
    :param y: their classes, shape (N,).
    :param bank: benign images and their classes to fit on, for the held-out protocol.
    :param draws: how often a random defence is asked about an image.
    :param fixed: what else determines all results: the seed, the versions of packages.
    :param code: digest of this package's code where the version does not tell it, else "". It ends
        each key. Seeds come from the beginning of a key, so an edit of the code redoes the results
        but draws the same random numbers.
    """

    def __init__(
        self,
        classifier: Any,
        attacks: Sequence[AttackEntry],
        defences: Sequence[DefenceEntry],
        protocols: Sequence[Protocol],
        threats: Sequence[Threat],
        x: npt.NDArray[np.float32],
        y: npt.NDArray[np.int64],
        bank: tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]] | None,
        draws: int,
        fixed: Any,
        code: str = "",
    ) -> None:
        self.attacks = {attack.label: attack for attack in attacks}
        self.defences = {defence.label: defence for defence in defences}
        self.x, self.y = x, y
        self.draws = draws
        self.banks = {Protocol.HELD_OUT: bank, Protocol.LEAKED: (x, y)}
        self.clip_values, self.nb_classes = classifier.clip_values, int(classifier.nb_classes)
        self.classifier_key = fingerprint(classifier)
        self._common = fingerprint(self.classifier_key, fixed)
        self._code = f"-{code[:8]}" if code else ""
        self._fits = {
            protocol: fingerprint(*bank) if bank is not None else None
            for protocol, bank in self.banks.items()
        }
        self._images: dict[int, str] = {}
        self.cells = list(self._cells(protocols, threats))

    def attacked(self, attack: str) -> int:
        """Return how many images an attack sees, the first ones."""
        limit = self.attacks[attack].limit
        return len(self.x) if limit is None else min(limit, len(self.x))

    def _cells(self, protocols: Sequence[Protocol], threats: Sequence[Threat]) -> Iterator[Cell]:
        for threat, protocol, defence in product(threats, protocols, self.defences.values()):
            ready = self.defence_key(defence, protocol)
            benign = fingerprint("predictions", ready, self.images_key(len(self.x)), self.draws)
            yield Cell(BENIGN, defence.label, protocol, threat, None, benign + self._code)
            for attack in self.attacks.values():
                if attack.suite and (threat != Threat.ADAPTIVE or not attack.fits(defence)):
                    continue
                # An attack through no defence is the same as one that knows of none.
                through = threat == Threat.ADAPTIVE and defence.label != NONE and attack.through
                images = self.images_key(self.attacked(attack.label))
                adversarial = fingerprint(
                    "adversarial",
                    self._common,
                    attack.identity,
                    images,
                    ready if through else None,
                )
                predictions = fingerprint("predictions", ready, adversarial, self.draws)
                yield Cell(
                    *(attack.label, defence.label, protocol, threat),
                    adversarial + self._code,
                    predictions + self._code,
                    through,
                )

    def inspected(self) -> list[Inspected]:
        """Return the defended classifiers to inspect."""
        attacked = {
            (cell.defence, cell.protocol)
            for cell in self.cells
            if cell.attack != BENIGN and self.attacks[cell.attack].suite
        }
        return [
            Inspected(
                cell.defence,
                cell.protocol,
                fingerprint(
                    "inspection",
                    self.defence_key(self.defences[cell.defence], cell.protocol),
                    self.images_key(IMAGES_TO_INSPECT),
                )
                + self._code,
            )
            for cell in self.cells
            if cell.attack == BENIGN
            and cell.threat == Threat.ADAPTIVE
            and (cell.defence, cell.protocol) in attacked
        ]

    def defence_key(self, defence: DefenceEntry, protocol: Protocol) -> str:
        """Return the key of a fitted defence."""
        fit = self._fits[protocol] if defence.learns else None
        return fingerprint("defence", self._common, defence.identity, fit)

    def images_key(self, n: int) -> str:
        """Return the fingerprint of the first n images and their classes."""
        if n not in self._images:
            self._images[n] = fingerprint(self.x[:n], self.y[:n])
        return self._images[n]
