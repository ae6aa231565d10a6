"""How fast the benchmark itself is: its overhead over attacks and predictions, and large stores.

    OMP_NUM_THREADS=1 python benchmarks/cells.py [--images 100] [--cells 10000]

Overhead is the time of a run beside the sum of what its tasks took: crafting, classifying, and
measuring what the model sees. With two jobs, half of that sum is what is compared with. A store of
many cells is filled with made-up results, then planned, resumed and reported; in seconds of a
processor, as nothing of it runs in parallel.

What was tried (2 CPU cores, 2026-11-26): the table read all adversarial examples again for their
norms, which are now kept beside them; figures of more than twelve attacks or defences took most of
a report's time, and could not be read.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

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


def seconds(run: Callable[[], object], of_processor: bool = False) -> float:
    clock = time.process_time if of_processor else time.perf_counter
    started = clock()
    run()
    return clock() - started


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
        self.folder = Path(folder, "seconds")

    def __call__(self, workbench: Any, task: tasks.Task) -> tuple[str, str, Result]:
        started = time.perf_counter()
        result = tasks.perform(workbench, task)
        self.folder.mkdir(exist_ok=True)
        path = self.folder / f"{task.kind}-{task.key}"
        path.write_text(str(time.perf_counter() - started))
        return result

    def sum(self) -> float:
        return sum(float(path.read_text()) for path in self.folder.iterdir())


def overhead_row(n: int, jobs: int) -> dict[str, Any]:
    """Return what a run takes beside its tasks."""
    attacks = [Attack("pgd", f"pgd {eps}", {"eps": eps / 255, "max_iter": 10}) for eps in (2, 4, 8)]
    defences = ["ss", "jpeg", "tvm", "nip"]
    (x, y), bank = pictures(n, 0), pictures(n, 1)
    with tempfile.TemporaryDirectory() as folder:
        made = Benchmark(
            classifier("resnet20"), attacks, defences, store=folder, jobs=jobs, verbose=False
        )
        timed = Timed(folder)
        with performing(timed):
            total = seconds(lambda: made.run(x, y, bank))
        cells = len(made.plan(x, y, bank))
        return row(
            f"{cells} cells of {n} images, {jobs} jobs",
            seconds=total,
            overhead=total * jobs / timed.sum() - 1,
            cells_per_minute=60 * cells / total,
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
    """Return how long it takes to plan, resume and report a store of many cells.

    In seconds of a processor, as nothing of it runs in parallel or waits for more than its files.
    """
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
            plan=seconds(lambda: again.plan(x, y), True),
            resume=seconds(lambda: again.run(x, y), True),
            report=seconds(again.report, True),
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
