"""Where tasks run: here, on this machine's cores, or on a Ray or Dask cluster, through joblib."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from joblib import Parallel, delayed, parallel_config

from art_nip.checks import check_choice, check_whole
from art_nip.data import require

ENGINES = ("local", "ray", "dask")

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Engine:
    """What runs tasks.

    :param name: "local" (processes of this machine), "ray" or "dask".
    :param jobs: how many tasks run at once; with "local" and 1, in this process.
    :param address: of a running Ray or Dask cluster; None starts one on this machine.
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
        """Yield the results of tasks, each as soon as it is there, in any order.

        :param function: from `shared` and a task to its result; it does not raise.
        :param shared: what all tasks need.
        :param tasks: what to do; taken one by one, so that they need not all be in memory. They and
            `shared` are pickled, unless they stay in this process.
        """
        calls = (delayed(function)(shared, task) for task in tasks)
        with self._backend():
            if self.name == "ray":
                yield from self._in_waves(calls)
            else:
                parallel = Parallel(self.jobs, batch_size=1, return_as="generator_unordered")
                yield from parallel(calls)

    def _in_waves(self, calls: Iterator[Any]) -> Iterator[Any]:
        # joblib's Ray backend gives no result before all that it was given are there.
        with Parallel(self.jobs, batch_size=1) as parallel:
            while wave := list(islice(calls, self.jobs)):
                yield from parallel(wave)

    @contextmanager
    def _backend(self) -> Iterator[None]:
        options: dict[str, Any] = {}
        with ExitStack() as stack:
            if self.name == "dask":
                stack.enter_context(self._dask())
            elif self.name == "ray":
                stack.enter_context(self._ray())
                options["ray_remote_args"] = _one_gpu_each()
            backend = "loky" if self.name == "local" else self.name
            with parallel_config(backend, n_jobs=self.jobs, **options):
                yield

    def _dask(self) -> Any:
        distributed = require("distributed", to="run on Dask", install="art-nip[dask]")
        if self.address:
            return distributed.Client(self.address)
        return distributed.Client(n_workers=self.jobs, threads_per_worker=1, dashboard_address=None)

    @contextmanager
    def _ray(self) -> Iterator[None]:
        ray = require("ray", to="run on Ray", install="art-nip[ray]")
        require("ray.util.joblib", to="run on Ray", install="art-nip[ray]").register_ray()
        started = not ray.is_initialized()
        if started:
            ray.init(self.address, num_cpus=None if self.address else self.jobs)
        try:
            yield
        finally:
            if started:
                ray.shutdown()


def _one_gpu_each() -> dict[str, int]:
    """Return what a task asks of a Ray cluster: a GPU to itself, where there are any."""
    ray = require("ray", to="run on Ray", install="art-nip[ray]")
    return {"num_gpus": 1} if ray.cluster_resources().get("GPU") else {}
