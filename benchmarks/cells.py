"""How fast the benchmark itself is: its overhead over attacks and predictions, and large stores.

    OMP_NUM_THREADS=1 python benchmarks/cells.py [--images 100] [--cells 10000]

Overhead is what a run takes beside the sum of what its tasks take: crafting, classifying, and
measuring what the model sees. With several jobs, tasks run in other processes; what these take
before their first and after their last task, most of it for imports, is a row's `processes`: once,
whatever the number of cells, and no part of `overhead`. A store of many cells is filled with
made-up results, then planned, resumed and reported. All is in seconds of a processor, of all
processes together, which other work on the machine hardly disturbs.

What was tried (2 CPU cores, 2026-11-26): the table read all adversarial examples again for their
norms, which are now kept beside them; figures of more than twelve attacks or defences took most of
a report's time, and could not be read.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from joblib.externals.loky import get_reusable_executor

from art_nip import zoo
from art_nip.benchmark import Attack, Benchmark, Defence, benchmark
from art_nip.benchmark.execution import tasks
from art_nip.benchmark.execution.store import Result
from art_nip.benchmark.execution.tasks import NORMS
from art_nip.zoo.classifiers import as_classifier
from art_nip.zoo.training import seed_weights

SHAPE, CLASSES = (3, 32, 32), 10


def classifier(name: str) -> Any:
    seed_weights("pytorch", 0)
    model = zoo.create(name, input_shape=SHAPE, nb_classes=CLASSES).eval()
    return as_classifier(model, "pytorch", SHAPE, CLASSES)


def pictures(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random((n, *SHAPE), np.float32), rng.integers(0, CLASSES, n)


def seconds(run: Callable[[], object]) -> float:
    """Return the processor time that a run takes in this process."""
    started = time.process_time()
    run()
    return time.process_time() - started


def seconds_of_others(run: Callable[[], object]) -> float:
    """Return the processor time that a run takes in processes that it starts."""
    started = time_of_others()
    run()
    # The time of a process counts once it has ended.
    get_reusable_executor().shutdown()
    return time_of_others() - started


def time_of_others() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def row(what: str, **figures: float) -> dict[str, Any]:
    print(f"{what:<44}{'  '.join(f'{name} {value:.4g}' for name, value in figures.items())}")
    return {"what": what, **figures}


def grid(n_attacks: int, n_defences: int) -> tuple[list[Attack], list[Defence]]:
    eps = np.linspace(1, 16, n_attacks) / 255
    attacks = [Attack("fgsm", f"fgsm {i}", {"eps": float(e)}) for i, e in enumerate(eps)]
    defences = [Defence("jpeg", f"jpeg {i}", {"quality": 1 + i % 95}) for i in range(n_defences)]
    return attacks, defences


@contextmanager
def performing(perform: Callable[..., Any]) -> Iterator[None]:
    """Let benchmarks perform their tasks by a function."""
    before = benchmark.perform
    benchmark.perform = perform
    try:
        yield
    finally:
        benchmark.perform = before


# Overhead


class Timed:
    """Tasks, with the time that each took; picklable, as they run in other processes too."""

    def __init__(self, folder: str) -> None:
        self.folder, self.parent = Path(folder, "seconds"), os.getpid()
        self.folder.mkdir()

    def __call__(self, workbench: Any, task: tasks.Task) -> tuple[str, str, Result]:
        started = time.process_time()
        result = tasks.perform(workbench, task)
        path = self.folder / f"{os.getpid()}-{task.kind}-{task.key}"
        path.write_text(f"{started} {time.process_time()}")
        return result

    def sum(self) -> float:
        """Return what the tasks took."""
        return sum(end - start for spans in self._spans().values() for start, end in spans)

    def sum_of_others(self) -> float:
        """Return what other processes took from their first task to their last."""
        others = [spans for pid, spans in self._spans().items() if pid != self.parent]
        return sum(max(spans)[1] - min(spans)[0] for spans in others)

    def _spans(self) -> dict[int, list[list[float]]]:
        spans: dict[int, list[list[float]]] = {}
        for path in self.folder.iterdir():
            pid = int(path.name.partition("-")[0])
            spans.setdefault(pid, []).append([float(clock) for clock in path.read_text().split()])
        return spans


def overhead_row(n: int, jobs: int) -> dict[str, Any]:
    """Return what a run takes beside its tasks, and beside starting and ending processes."""
    attacks = [Attack("pgd", f"pgd {eps}", {"eps": eps / 255, "max_iter": 10}) for eps in (2, 4, 8)]
    defences = ["ss", "jpeg", "tvm", "nip"]
    given, (x, bank) = classifier("resnet20"), (pictures(n, seed)[0] for seed in (0, 1))
    # The model's own answers, as a NIP is fitted on images that it gets right.
    y, y_bank = (given.predict(images).argmax(axis=1) for images in (x, bank))
    with tempfile.TemporaryDirectory() as folder:
        made = Benchmark(given, attacks, defences, store=folder, jobs=jobs, verbose=False)
        timed = Timed(folder)
        with performing(timed):
            here = time.process_time()
            others = seconds_of_others(lambda: made.run(x, y, (bank, y_bank)))
            here = time.process_time() - here
        at_work = timed.sum_of_others()
        return row(
            f"{len(made.plan(x, y, (bank, y_bank)))} cells of {n} images, {jobs} jobs",
            tasks=timed.sum(),
            processes=others - at_work,
            overhead=(here + at_work) / timed.sum() - 1,
        )


# Large stores


def made_up(_: Any, task: tasks.Task) -> tuple[str, str, Result]:
    """Return a result of the right form, in place of that which the task would compute."""
    rng, n = np.random.default_rng(int(task.key[:8], 16)), len(task.x)
    if isinstance(task, tasks.Crafting):
        x = np.clip(task.x + rng.choice([-0.03, 0.03], task.x.shape), 0, 1).astype(np.float32)
        facts = {"seconds": 1.0, "forward": 10 * n, "backward": 10 * n}
        return (
            task.kind,
            task.key,
            Result({"x": x} | {name: rng.random(n) for name in NORMS}, facts),
        )
    arrays = {"classes": rng.integers(0, CLASSES, n), "psnr": rng.random(n), "tknc": rng.random(n)}
    facts = {"seconds": 1.0, "forward_per_image": 1.0, "backward_per_image": 0.0}
    return task.kind, task.key, Result(arrays, facts)


def store_row(cells: int, n: int = 20) -> dict[str, Any]:
    """Return what it takes to plan, resume and report a store of many cells."""
    side = round((cells / 2) ** 0.5)
    attacks, defences = grid(side - 1, side - 1)
    threats = ["oblivious", "adaptive"]
    given, (x, y) = classifier("lenet5"), pictures(n, 0)
    with tempfile.TemporaryDirectory() as folder:
        made = Benchmark(given, attacks, defences, store=folder, threats=threats, verbose=False)
        with performing(made_up):
            filled = seconds(lambda: made.run(x, y))
        again = Benchmark(given, attacks, defences, store=folder, threats=threats, verbose=False)
        n_cells = len(again.plan(x, y))
        return row(
            f"a store of {n_cells:,} cells of {n} images",
            fill=filled,
            plan=seconds(lambda: again.plan(x, y)),
            resume=seconds(lambda: again.run(x, y)),
            report=seconds(again.report),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=100, help="evaluated for the overhead")
    parser.add_argument("--cells", type=int, default=10_000, help="in the large store")
    options = parser.parse_args()
    for jobs in (1, 2):
        overhead_row(options.images, jobs)
    store_row(options.cells)


if __name__ == "__main__":
    main()
