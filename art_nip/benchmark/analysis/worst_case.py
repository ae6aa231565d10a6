"""What the adaptive suite did to each image of a defended classifier, within the budget."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.benchmark.analysis.paired import PairedDifference, holm
from art_nip.benchmark.analysis.results import GridResults
from art_nip.benchmark.execution.cascade import NOBODY, UNATTACKED
from art_nip.benchmark.execution.draws import drawn, wrong_by_majority, wrong_in_any
from art_nip.benchmark.plan.attacks import AttackEntry
from art_nip.benchmark.plan.grid import Cell
from art_nip.benchmark.plan.suite import OUTSIDE_THE_BUDGET, within
from art_nip.benchmark.schema.words import BENIGN, NONE, Norm, Protocol, Role, Threat

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Repeated:
    """Which images a random classifier gets right, unattacked and under all attacks of a suite.

    :param majority: those whose true class is drawn more often than any other, whatever they meet.
    :param always: those that are right in each draw.
    :param draws: how often it was asked about an image.
    """

    majority: Mask
    always: Mask
    draws: int


@dataclass(frozen=True)
class Outcome:
    """What a suite did to a defended classifier.

    :param suite: label of the suite.
    :param defence: label of the defence.
    :param protocol: how the defence was fitted.
    :param eps: the budget, of images in [0, 1].
    :param benign_wrong: which images the classifier gets wrong unattacked, shape (N,).
    :param wrong: by role of the attacks with results, which images the classifier gets wrong,
        attacked or not, in one draw if it is random. In a cascade, by this attack or one before.
    :param broken: the same, but attacked images count only within the budget; and in a cascade,
        only those that this attack has broken.
    :param benign: facts of classifying benign images.
    :param flags: what AutoAttack warned of.
    :param norm: the norm that the budget is in.
    :param repeated: of a random classifier, what is right when it is asked again.
    :param in_turn: of a cascade, which images the classifier gets wrong under an attack or one
        before, by role and in turn; else {}.
    """

    suite: str
    defence: str
    protocol: Protocol
    eps: float
    benign_wrong: Mask
    wrong: dict[Role, Mask]
    broken: dict[Role, Mask]
    benign: dict[str, Any]
    flags: tuple[str, ...] = ()
    norm: Norm = Norm.LINF
    repeated: Repeated | None = None
    in_turn: dict[Role, Mask] = field(default_factory=dict)

    def broken_by(self, roles: Iterable[Role]) -> Mask | None:
        """Return which images any of these attacks breaks; None if none of them has results."""
        masks = [self.broken[role] for role in roles if role in self.broken]
        return _any(masks) if masks else None

    @property
    def cascade(self) -> bool:
        """Whether attacks met only the images that those before had left."""
        return bool(self.in_turn)

    @property
    def robust_once(self) -> Mask:
        """Which images are right, unattacked and under all attacks, each asked about once."""
        return ~_any([self.benign_wrong, *self.broken.values()])

    @property
    def robust(self) -> Mask:
        """Which images are right, unattacked and under all attacks of the suite.

        Of a random classifier those that are right in each draw: an attacker may ask again.
        """
        return self.robust_once if self.repeated is None else self.repeated.always


def outcomes(results: GridResults) -> Iterator[Outcome]:
    """Yield an outcome for each suite, defence and protocol that has results of an attack.

    Attacks that do not keep to the budget are none of these: without others, as when a cascade has
    failed, they would leave all images right.
    """
    members: dict[tuple[str, str, Protocol], list[Cell]] = {}
    benign: dict[tuple[str, Protocol], Cell] = {}
    for cell in results.grid.cells:
        if cell.threat != Threat.ADAPTIVE:
            continue
        if cell.attack == BENIGN:
            benign[cell.defence, cell.protocol] = cell
        elif suite := results.grid.attacks[cell.attack].suite:
            members.setdefault((suite, cell.defence, cell.protocol), []).append(cell)
    for (_, defence, protocol), cells in members.items():
        outcome = _outcome(results, benign[defence, protocol], cells)
        if outcome is not None:
            yield outcome


def _outcome(results: GridResults, unattacked: Cell, cells: Sequence[Cell]) -> Outcome | None:
    """Return what a suite did to a defended classifier; None if no attack has results, as above.

    :param unattacked: the cell of the benign images.
    :param cells: those of the suite's attacks, at least one.
    """
    benign, attack = results.predictions(unattacked), results.grid.attacks[cells[0].attack]
    if benign is None or benign.error:
        return None
    n = results.grid.attacked(cells[0].attack)
    y, eps, norm = results.grid.y[:n], attack.budget, attack.budget_norm
    asked = drawn(benign)[:n]
    benign_wrong, draws = asked[:, 0] != y, asked.shape[1]
    majority, always = [~wrong_by_majority(asked, y)], [~wrong_in_any(asked, y)]
    wrong: dict[Role, Mask] = {}
    broken: dict[Role, Mask] = {}
    in_turn: dict[Role, Mask] = {}
    flags: list[str] = []
    for cell in cells:
        crafted, predictions = results.crafted(cell), results.predictions(cell)
        role = results.grid.attacks[cell.attack].role
        if crafted is None or predictions is None or predictions.error or role is None:
            continue
        flags += crafted.facts.get("flags", [])
        inside = within(crafted.linf if norm is Norm.LINF else crafted.l2, eps)
        asked = drawn(predictions)
        majority.append(~(wrong_by_majority(asked, y) & inside))
        always.append(~(wrong_in_any(asked, y) & inside))
        draws = max(draws, asked.shape[1])
        if crafted.broken_by is not None:
            parts = results.grid.attacks[cell.attack].against(results.grid.defences[cell.defence])
            # No further attack met what was wrong once, so that it counts whatever is drawn later.
            met = crafted.broken_by == NOBODY
            majority.append(met)
            always.append(met)
            unattacked_wrong = benign_wrong | (crafted.broken_by == UNATTACKED)
            for part, these, all_so_far in _in_turn(parts.parts, crafted.broken_by):
                broken[part] = unattacked_wrong | these
                in_turn[part] = unattacked_wrong | all_so_far
            wrong |= in_turn
            continue
        wrong[role] = benign_wrong | (asked[:, 0] != y)
        broken[role] = benign_wrong | (wrong[role] & inside)
    if not {*broken} - {*OUTSIDE_THE_BUDGET, Role.PGD_UNBOUNDED}:
        return None
    return Outcome(
        suite=attack.suite,
        defence=unattacked.defence,
        protocol=unattacked.protocol,
        eps=eps,
        benign_wrong=benign_wrong,
        wrong=wrong,
        broken=broken,
        benign=benign.facts,
        flags=tuple(flags),
        norm=norm,
        repeated=Repeated(_all(majority), _all(always), draws) if draws > 1 else None,
        in_turn=in_turn,
    )


def _in_turn(
    parts: Sequence[AttackEntry], broken_by: npt.NDArray[np.int64]
) -> Iterator[tuple[Role, Mask, Mask]]:
    """Yield of each attack of a cascade which images it broke, and it or one before.

    Those for which no image was left have no result, but for the first.
    """
    so_far = broken_by == UNATTACKED
    for place, part in enumerate(parts):
        if place and so_far.all():
            return
        these = broken_by == place
        so_far = so_far | these
        if part.role is not None:
            yield part.role, these, so_far


def differences(suites: Sequence[Outcome]) -> Iterator[tuple[Outcome, PairedDifference]]:
    """Yield how far each worst case is from that of no defence, where both have results.

    The p-values are adjusted for the number of defences of a suite and protocol.
    """
    groups: dict[tuple[str, Protocol], list[Outcome]] = {}
    bare: dict[tuple[str, Protocol], Outcome] = {}
    for outcome in suites:
        key = outcome.suite, outcome.protocol
        if outcome.defence == NONE:
            bare[key] = outcome
        else:
            groups.setdefault(key, []).append(outcome)
    for key, defended in groups.items():
        if key not in bare:
            continue
        found = [PairedDifference.of(each.robust, bare[key].robust) for each in defended]
        adjusted = holm([difference.p for difference in found])
        for outcome, difference, p in zip(defended, found, adjusted, strict=True):
            yield outcome, replace(difference, p=p)


def _all(masks: Sequence[Mask]) -> Mask:
    shared: Mask = np.logical_and.reduce(masks)
    return shared


def _any(masks: Sequence[Mask]) -> Mask:
    union: Mask = np.logical_or.reduce(masks)
    return union
