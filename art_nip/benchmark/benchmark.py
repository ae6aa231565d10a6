"""The benchmark of one classifier: plans cells, computes the missing ones, and tabulates all."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm.auto import tqdm

from art_nip.benchmark import report
from art_nip.benchmark.analysis.checklist import checklist
from art_nip.benchmark.analysis.paired import number_of_images
from art_nip.benchmark.analysis.results import GridResults
from art_nip.benchmark.analysis.table import tidy
from art_nip.benchmark.analysis.warnings import warn_of_failures, warn_of_no_success
from art_nip.benchmark.analysis.worst_case import outcomes
from art_nip.benchmark.execution.draws import DRAWS
from art_nip.benchmark.execution.engines import Engine
from art_nip.benchmark.execution.images import evaluated, known, shared
from art_nip.benchmark.execution.machine import machine
from art_nip.benchmark.execution.missing import MISSING, has_images
from art_nip.benchmark.execution.protection import protected
from art_nip.benchmark.execution.store import Store
from art_nip.benchmark.execution.tasks import Task, perform
from art_nip.benchmark.execution.workbench import Workbench
from art_nip.benchmark.export import records, tracking
from art_nip.benchmark.export.entries import entries
from art_nip.benchmark.fingerprints import own_code, versions
from art_nip.benchmark.plan.attacks import attack_entries, check_suites
from art_nip.benchmark.plan.defences import defence_entries
from art_nip.benchmark.plan.given import listed
from art_nip.benchmark.plan.grid import Grid
from art_nip.benchmark.plan.trial import check_made
from art_nip.benchmark.report.results import Results
from art_nip.benchmark.schema.description import CellCount, Description
from art_nip.benchmark.schema.words import BENIGN, NONE, OF_DEFENCES, Protocol, Threat
from art_nip.defences.checks import channels_first
from art_nip.utils.validation import (
    check_choice,
    check_classifier,
    check_whole,
)


class Benchmark:
    """Attacks and defences on one classifier, measured.

    Each set of adversarial examples is crafted once, and every defence sees the same. Two axes are
    never mixed: the *protocol*, whether a defence that learns was fitted on other images
    ("held-out") or on the very images whose adversarial versions it is then to repair
    ("leaked", as the paper's numbers can only be read); and the *threat*, whether attacks
    know of the defence ("adaptive", crafted through it) or not ("oblivious", crafted on the
    undefended classifier, as in the paper).

    :param classifier: a trained ART classifier with `clip_values`; it is left as it is.
    :param attacks: names (`art_nip.attacks.registry.NAMES`), ART attacks on the classifier, or
        :class:`Attack` for either with parameters, a label or a limit. "adaptive" stands for a
        whole suite that goes through each defence, see `art_nip.benchmark.plan.suite`.
    :param defences: names (`art_nip.defences.registry.NAMES`), ART preprocessors, trained ART
        classifiers, or :class:`Defence`; or a mapping from labels to these. "none" is always there.
        The benchmark fits a copy of each defence that learns; otherwise the protocol would not be
        known.
    :param store: folder of the results; an existing one is continued.
    :param protocols: one or both of "held-out" and "leaked".
    :param threats: one or both of "oblivious" and "adaptive".
    :param seed: seed of everything that is drawn at random, but for the starts of ART's own
        `BoundaryAttack`, `HopSkipJump` and `BrendelBethgeAttack` objects, which draw them afresh:
        "boundary" and "hopskipjump" go by the seed.
    :param draws: how often a defence is asked about the same image where it is random, as a few
        images show that are asked about several times. 1 asks once, of all defences.
    :param engine: "local" (processes of this machine), "ray" or "dask".
    :param jobs: how many tasks run at once; with "local" and 1, in this process.
    :param address: address of a running Ray or Dask cluster; None starts one on this machine.
    :param name: name of the benchmark in its report; None takes the folder's name.
    :param model: where the model is from, for the report.
    :param data: name of the data set, for the report and for `art-nip leaderboard`.
    :param track: "mlflow" or "tensorboard" logs every number of the table at the end of each run,
        and the report, which is written for it; see `art_nip.benchmark.export.tracking.track`.
    :param verbose: whether to show progress, and how long slow attacks will take.
    :raises ImportError: if the package that `track` needs is not installed.
    :raises OSError: if MLflow cannot open its store.
    :raises ValueError: if a name or a parameter is not allowed, two have one label, something
        cannot be made for this classifier, or the store is of an older version.
    :raises TypeError: if something is no attack or no defence.
    """

    def __init__(
        self,
        classifier: Any,
        attacks: Iterable[Any],
        defences: Mapping[str, Any] | Iterable[Any] = (),
        *,
        store: str | Path,
        protocols: Sequence[str] = ("held-out",),
        threats: Sequence[str] = ("oblivious",),
        seed: int = 0,
        draws: int = DRAWS,
        engine: str = "local",
        jobs: int = 1,
        address: str | None = None,
        name: str | None = None,
        model: str | None = None,
        data: str | None = None,
        track: str | None = None,
        verbose: bool = True,
    ) -> None:
        check_classifier(classifier, "A benchmark")
        if classifier.clip_values is None:
            raise ValueError(
                "The classifier has no clip_values, and perturbations are measured against them: "
                "give it clip_values=(min, max), the range of the images."
            )
        if Protocol.RELEASED in protocols:
            raise ValueError(
                f"No defence has the protocol {str(Protocol.RELEASED)!r}: it is an evaluation that "
                "needs each image's own benign version. Give held-out, leaked or both here; "
                "art_nip.paper.released.ReleasedEvaluation and `art-nip paper` do the other."
            )
        _check_names("protocol", protocols, OF_DEFENCES)
        _check_names("threat", threats, tuple(Threat))
        check_whole("seed", seed, least=0)
        check_whole("draws", draws, least=1)
        self.classifier = classifier
        self._attacks = attack_entries(attacks, classifier)
        check_suites(self._attacks, threats)
        self._defences = defence_entries(defences, classifier)
        check_made(self._attacks, self._defences, protected(classifier), threats)
        self._protocols = tuple(dict.fromkeys(map(Protocol, protocols)))
        self._threats = tuple(dict.fromkeys(map(Threat, threats)))
        self._seed, self._draws, self._verbose = int(seed), int(draws), verbose
        self._engine = Engine(engine, jobs, address)
        self._store = Store(store)
        self._store.check()
        self._name, self._data = name or Path(store).name, data
        self._tracker = track
        if track is not None:
            tracking.check(track)
        self._model = f"{model}, {_kind(classifier)}" if model else _kind(classifier)

    def plan(self, x: Any, y: npt.ArrayLike | None = None, bank: Any = None) -> pd.DataFrame:
        """Return the cells of the grid, and compute nothing.

        Unless `verbose` is off, say how many images it takes to show that a worst case differs from
        that of no defence by three points.

        :param x: as in :meth:`run`.
        :param y: as in :meth:`run`.
        :param bank: as in :meth:`run`.
        :return: columns attack, defence, protocol, threat, n (images), and cached: whether
            the store has everything that the cell needs.
        """
        with self._grid(x, y, bank) as grid:
            if self._verbose and len(grid.defences) > 1:
                suites = {entry.suite: label for label, entry in grid.attacks.items()}
                for suite in filter(None, suites):
                    text = number_of_images(suite, grid.attacked(suites[suite]))
                    tqdm.write(text, file=sys.stderr)
            return self._planned(grid)

    def _planned(self, grid: Grid) -> pd.DataFrame:
        rows = [
            (
                *(cell.attack, cell.defence, str(cell.protocol), str(cell.threat)),
                len(grid.x) if cell.attack == BENIGN else grid.attacked(cell.attack),
                self._store.has("predictions", cell.predictions) and has_images(cell, self._store),
            )
            for cell in grid.cells
        ]
        columns = ["attack", "defence", "protocol", "threat", "n", "cached"]
        cells: pd.DataFrame = pd.DataFrame(rows, columns=columns)
        return cells

    def run(self, x: Any, y: npt.ArrayLike | None = None, bank: Any = None) -> pd.DataFrame:
        """Compute the cells that are missing, and return the table of all cells.

        A cell has a row for each of its metrics, and one that raised has a row with the metric
        "error". A defence that learns nothing has the same rows in both protocols. The metrics:

        - `accuracy`; of random defences, of one draw, beside `accuracy_majority` and
          `accuracy_worst_draw`.
        - Of attacks (rows with the defence "none", or adaptive ones): `asr`; `l2` and `linf` over
          the successful examples, in units of the range of the images.
        - Of defences against oblivious attacks: `dsr`, of the successful examples.
        - Of the adaptive suite (rows with its label as the attack): `worst_case_accuracy`, over the
          images that are right whichever of its attacks within the budget they meet, whenever they
          are asked about; of random defences `worst_case_accuracy_one_draw` and
          `worst_case_accuracy_majority` too.
        - Of each defence under the suite: `worst_case_difference`, how far its worst case is above
          that of the defence "none" (with the interval of a paired difference); `worst_case_p`, p
          of the exact McNemar test of the two, by Holm's method for all defences of the suite and
          protocol.
        - Of each attack of a cascade (rows with its label): `left_so_far`, the accuracy that it and
          those before leave.
        - Of all adaptive attacks without an ε together (rows with the attack "nearest"):
          `accuracy_at`, the share of the images whose nearest example is further away than eps, in
          either norm.
        - `psnr` and `tknc` (k = 5) between what the model sees and the benign images.
        - `seconds_per_image`, `forward_passes` and `backward_passes`: of classifying in benign
          rows, of crafting in those of attacks.

        :param x: images to evaluate on, shape (N, *input_shape), in the classifier's `clip_values`.
            Or what brings them in batches, with their classes, as
            :meth:`art_nip.NIPPreprocessor.fit` takes it: it is read once, into a temporary file
            that is mapped, so that no more of it is in memory than what is attacked or classified.
        :param y: their classes: indices, shape (N,), or one-hot, shape (N, nb_classes); None if x
            brings them.
        :param bank: other benign images and their classes, for defences that learn, a pair of
            arrays or what brings both in batches; needed only for these, in the protocol
            "held-out".
        :return: columns attack ("benign" for none), defence, protocol, threat, metric, value, low
            and high (95 %: Wilson's interval for rates, the normal one for means), n (images it was
            taken over), seconds (of the cell), eps (of the attack), error, and norm (that of eps:
            "linf", "l2", or "").
        :raises ValueError: if images or labels are not as above, the bank is missing, or an image
            of it is among those evaluated.
        """
        with self._grid(x, y, bank) as grid:
            table = self._computed(grid)
        warn_of_failures(table, self._verbose)
        warn_of_no_success(table, self._attacks)
        if self._tracker is not None:
            self.report()
            logged = tracking.track(self._store.folder, self._tracker)
            if self._verbose:
                tqdm.write(f"Logged: {logged}", file=sys.stderr)
        return table

    def _computed(self, grid: Grid) -> pd.DataFrame:
        self._describe(grid)
        self._store.write_arrays("images.safetensors", {"x": grid.x, "y": grid.y})
        workbench = Workbench(self.classifier, grid.classifier_key)
        try:
            # What is classified is what was crafted, so each kind is listed when its turn has come.
            for what, missing in MISSING.items():
                self._perform(workbench, what, missing(grid, self._store, self._verbose))
        finally:
            table = self._tabulated(grid)
        return table

    def _tabulated(self, grid: Grid) -> pd.DataFrame:
        """Write what the results so far say into the folder, and return the table."""
        description = self._describe(grid)
        results = GridResults(grid, self._store)
        suites = list(outcomes(results))
        table = tidy(results, suites)
        self._store.write_text("table.csv", table.to_csv(index=False))
        items = [asdict(item) for item in checklist(results, suites)]
        self._store.write_json("checklist.json", items)
        records.write(results, description)
        self._store.write_json("entry.json", entries(Results(self._store.folder)))
        return table

    def report(self) -> Path:
        """Write `report.html` and `report.md` beside `table.csv`, and return the first's path.

        :raises FileNotFoundError: if nothing was run yet.
        """
        return report.write(self._store.folder)

    @contextmanager
    def _grid(self, x: Any, y: Any, bank: Any) -> Iterator[Grid]:
        """Give the grid; images that are not in memory are in a folder until the end."""
        with TemporaryDirectory(prefix="art-nip-") as folder:
            yield self._grid_in(Path(folder), x, y, bank)

    def _grid_in(self, folder: Path, x: Any, y: Any, bank: Any) -> Grid:
        images, labels = evaluated(x, y, self.classifier, folder)
        others = None if bank is None else known(bank, self.classifier, folder)
        learners = [entry.label for entry in self._defences if entry.learns]
        if learners and Protocol.HELD_OUT in self._protocols:
            if others is None:
                raise ValueError(
                    f"{', '.join(learners)} learns from benign images: give bank=(x, y) that are "
                    "not among those evaluated, or protocols=['leaked']."
                )
            twice = shared(images, others[0])
            if twice:
                raise ValueError(
                    f"{twice} of the {len(images)} evaluated images are in the bank too, which "
                    'would not be "held-out". Take others, or protocols=["leaked"].'
                )
        return Grid(
            self.classifier,
            self._attacks,
            self._defences,
            self._protocols,
            self._threats,
            x=images,
            y=labels,
            bank=others,
            draws=self._draws,
            fixed=(self._seed, versions()),
            code=own_code(),
        )

    def _perform(
        self, workbench: Workbench, what: str, tasks: Mapping[str, Callable[[], Task]]
    ) -> None:
        if not tasks:  # no cluster is started for nothing
            return
        made = (make() for make in tasks.values())
        finished = self._engine.run(perform, workbench, made)
        for kind, key, result in tqdm(finished, what, len(tasks), disable=not self._verbose):
            self._store.put(kind, key, result)

    def _describe(self, grid: Grid) -> Description:
        """Write down what the report needs besides the table, and return it."""
        bank = grid.banks[Protocol.HELD_OUT]
        adversarial = {
            cell.attack: cell.adversarial
            for cell in grid.cells
            if cell.adversarial
            and cell.defence == NONE
            and self._store.has("adversarial", cell.adversarial)
        }
        counts = Counter((cell.threat, cell.protocol) for cell in grid.cells)
        description = Description(
            name=self._name,
            model=f"{self._model}, fingerprint {grid.classifier_key}",
            data=self._data,
            images=grid.images_key(len(grid.x)),
            n_images=len(grid.x),
            n_bank=None if bank is None else len(bank[0]),
            seed=self._seed,
            draws=self._draws,
            date=date.today().isoformat(),
            machine=machine(),
            versions=versions(),
            protocols=list(self._protocols),
            threats=list(self._threats),
            attacks=[entry.record() for entry in grid.attacks.values()],
            defences=[entry.record() for entry in grid.defences.values()],
            channels_first=channels_first(self.classifier),
            clip_values=[np.asarray(bound).tolist() for bound in self.classifier.clip_values],
            adversarial=adversarial,
            cells=[CellCount(threat, protocol, n) for (threat, protocol), n in counts.items()],
        )
        self._store.write_json("benchmark.json", description.to_json())
        return description


def _kind(classifier: Any) -> str:
    model = getattr(classifier, "model", classifier)
    return f"{type(classifier).__name__} of {type(model).__name__}"


def _check_names(what: str, given: Any, allowed: Sequence[str]) -> None:
    """Raise an error unless names are a list of at least one allowed name."""
    names = listed(what, given)
    if not names:
        raise ValueError(f"There is no {what}: give one at least of {', '.join(allowed)}.")
    for name in names:
        check_choice(what, name, allowed)
