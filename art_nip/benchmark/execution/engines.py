"""Where tasks run: in this process, on this machine's cores, or on a Ray or Dask cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from joblib import Parallel, delayed

from art_nip.utils.frameworks import share_gpus
from art_nip.utils.optional import require
from art_nip.utils.validation import check_choice, check_whole

ENGINES = ("local", "ray", "dask")

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Engine:
    """Runs tasks.

    :param name: "local" (processes of this machine), "ray" or "dask".
    :param jobs: how many tasks run at once; with "local" and 1, in this process. On a GPU, this
        process has taken all of it already if TensorFlow has made a model in it: set
        TF_FORCE_GPU_ALLOW_GROWTH=true before, as the command `art-nip` does.
    :param address: address of a running Ray or Dask cluster; None starts one on this machine.
    """

    name: str = "local"
    jobs: int = 1
    address: str | None = None

    def __post_init__(self) -> None:
        check_choice("engine", self.name, ENGINES)
        check_whole("jobs", self.jobs, least=1)
        if self.address is not None and self.name == "local":
            raise ValueError(
                f'address={self.address!r} is of no use to the engine "local": choose "ray" or '
                '"dask", or leave it out.'
            )

    def run(
        self, function: Callable[[Any, Task], Result], shared: Any, tasks: Iterable[Task]
    ) -> Iterator[Result]:
        """Yield the results of tasks in any order, each result as soon as it is there.

        :param function: takes `shared` and a task, and returns the result; it does not raise.
        :param shared: what all tasks need.
        :param tasks: the tasks; taken one by one, so that they need not all be in memory. They and
            `shared` are pickled, unless they stay in this process.
        """
        # Clusters are not used through joblib: with one job or one thread of Dask it runs
        # everything here, it ignores the number of jobs there, and with Ray it gives no result
        # before all are there.
        if self.name != "local" or self.jobs > 1:
            share_gpus()
        runners = {"local": self._locally, "ray": self._on_ray, "dask": self._on_dask}
        yield from runners[self.name](function, shared, iter(tasks))

    def _locally(self, function: Any, shared: Any, tasks: Iterator[Any]) -> Iterator[Any]:
        parallel = Parallel(
            self.jobs, backend="loky", batch_size=1, return_as="generator_unordered"
        )
        yield from parallel(delayed(function)(shared, task) for task in tasks)

    def _on_dask(self, function: Any, shared: Any, tasks: Iterator[Any]) -> Iterator[Any]:
        distributed = require("distributed", to="run on Dask", install="art-nip[dask]")
        workers = {"n_workers": self.jobs, "threads_per_worker": 1, "dashboard_address": None}
        place = {"address": self.address} if self.address else workers
        with distributed.Client(**place) as client:
            held = client.scatter(shared, hash=False)

            def submitted(n: int) -> list[Any]:
                sent = [client.scatter(task, hash=False) for task in islice(tasks, n)]
                return [client.submit(function, held, task, pure=False) for task in sent]

            running = distributed.as_completed(submitted(self.jobs))
            for future in running:
                yield future.result()
                running.update(submitted(1))

    def _on_ray(self, function: Any, shared: Any, tasks: Iterator[Any]) -> Iterator[Any]:
        with self._ray() as ray:
            remote, held = ray.remote(**_resources_of_a_task(ray))(function), ray.put(shared)

            def submitted(n: int) -> list[Any]:
                return [remote.remote(held, task) for task in islice(tasks, n)]

            running = submitted(self.jobs)
            while running:
                (done,), running = ray.wait(running)
                yield ray.get(done)
                running += submitted(1)

    @contextmanager
    def _ray(self) -> Iterator[Any]:
        ray = require("ray", to="run on Ray", install="art-nip[ray]")
        started = not ray.is_initialized()
        if started:
            ray.init(self.address, num_cpus=None if self.address else self.jobs)
        try:
            yield ray
        finally:
            if started:
                ray.shutdown()


def _resources_of_a_task(ray: Any) -> dict[str, int]:
    """Return what a task asks of a Ray cluster: a CPU, and a GPU of its own if there are any."""
    return {"num_cpus": 1, "num_gpus": 1 if ray.cluster_resources().get("GPU") else 0}
