"""Engines: wherever tasks run, results are the same."""

import os
import sys
import threading
import time
from operator import mul

import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

from art_nip.benchmark import Attack, Benchmark
from art_nip.benchmark.execution.engines import Engine
from tests.helpers import FRAMEWORKS, make_classifier, to_framework

PGD = {"eps": 0.2, "eps_step": 0.05, "max_iter": 4}
FEW = 10


def places():
    """Return a function that travels whole: workers need not import this module for it."""

    def where(_, task):
        time.sleep(0.2)
        return os.getpid(), threading.get_ident()

    return where


def tasks_until(fails_at):
    for task in range(12):
        if task == fails_at:
            raise ValueError("this task is damaged")
        yield task


@pytest.fixture(scope="module")
def ray_cluster():
    """Two workers on this machine."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        ray.init(num_cpus=2, include_dashboard=False)
        yield
        ray.shutdown()


def dask_scheduler(**workers):
    """Yield the address of a scheduler while it runs."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(dashboard_address=None, **workers) as cluster:
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def dask_cluster():
    """The address of a scheduler with two workers."""
    yield from dask_scheduler(n_workers=2, threads_per_worker=1)


@pytest.fixture(scope="module")
def one_thread():
    """The address of a scheduler with a worker of one thread."""
    yield from dask_scheduler(n_workers=1, threads_per_worker=1)


@pytest.fixture(scope="module")
def threads():
    """The address of a scheduler with one worker of four threads, as `dask worker` starts it."""
    yield from dask_scheduler(n_workers=1, threads_per_worker=4, processes=False)


@pytest.fixture(scope="module")
def run(lenet, digits):
    """From a framework, a folder and an engine to the table of one small benchmark."""

    def run_it(framework, folder, **engine):
        classifier = make_classifier(framework, lenet[framework])
        attacks = [Attack("pgd", parameters=PGD), Attack("auna", limit=5)]
        benchmark = Benchmark(
            classifier,
            attacks,
            ["tvm", "nip"],
            store=folder,
            threats=["oblivious", "adaptive"],
            verbose=False,
            **engine,
        )
        (x, y), (bank, labels) = digits["test"], digits["bank"]
        return benchmark.run(
            to_framework(x[:FEW], framework),
            y[:FEW],
            (to_framework(bank[:60], framework), labels[:60]),
        )

    return run_it


@pytest.fixture(scope="module")
def alone(run, tmp_path_factory):
    """The tables that one process gives."""
    return {
        framework: run(framework, tmp_path_factory.mktemp(framework)) for framework in FRAMEWORKS
    }


def assert_same(table, expected):
    assert not (expected.metric == "error").any()
    untimed = [
        each[each.metric != "seconds_per_image"].drop(columns="seconds").reset_index(drop=True)
        for each in (table, expected)
    ]
    numbers = ["value", "low", "high"]
    assert untimed[0].drop(columns=numbers).equals(untimed[1].drop(columns=numbers))
    # Another number of threads may round otherwise.
    np.testing.assert_allclose(untimed[0][numbers], untimed[1][numbers], rtol=1e-4)


@pytest.mark.parametrize("framework", ["pytorch", "tensorflow"])
def test_two_processes_give_the_same_table(run, alone, framework, tmp_path):
    assert_same(run(framework, tmp_path, jobs=2), alone[framework])


def test_a_dask_cluster_gives_the_same_table(run, alone, dask_cluster, tmp_path):
    table = run("pytorch", tmp_path, engine="dask", jobs=2, address=dask_cluster)
    assert_same(table, alone["pytorch"])


def test_threads_of_one_worker_do_not_disturb_each_other(run, alone, threads, tmp_path):
    table = run("pytorch", tmp_path, engine="dask", jobs=4, address=threads)
    assert_same(table, alone["pytorch"])


def test_a_ray_cluster_gives_the_same_table_and_stays(run, alone, ray_cluster, tmp_path):
    import ray

    assert_same(run("pytorch", tmp_path, engine="ray", jobs=2), alone["pytorch"])
    assert ray.is_initialized()


# Engines by themselves


def test_one_job_stays_in_this_process():
    found = list(Engine().run(places(), None, range(2)))
    assert found == [(os.getpid(), threading.get_ident())] * 2


def test_two_jobs_run_in_two_other_processes():
    found = {process for process, _ in Engine(jobs=2).run(places(), None, range(8))}
    assert len(found) == 2
    assert os.getpid() not in found


def test_dask_runs_on_the_cluster_of_the_address(dask_cluster):
    engine = Engine("dask", 2, dask_cluster)
    assert sorted(engine.run(mul, 3, range(5))) == [0, 3, 6, 9, 12]
    found = {process for process, _ in engine.run(places(), None, range(8))}
    assert len(found) == 2
    assert os.getpid() not in found
    again = {process for process, _ in engine.run(places(), None, range(8))}
    assert again == found


def test_dask_without_an_address_starts_workers_for_as_long_as_it_needs_them():
    distributed = pytest.importorskip("distributed")
    found = list(Engine("dask", 1).run(places(), None, range(2)))
    assert os.getpid() not in {process for process, _ in found}
    with pytest.raises(ValueError, match="No global client found"):
        distributed.get_client()


def test_a_cluster_of_one_thread_is_used_too(one_thread):
    """joblib would run all in this process."""
    found = {process for process, _ in Engine("dask", 1, one_thread).run(places(), None, range(2))}
    assert len(found) == 1
    assert os.getpid() not in found


@pytest.mark.parametrize("jobs", [1, 3])
def test_ray_runs_all_tasks_elsewhere(ray_cluster, jobs):
    def tripled(shared, task):  # in here, since Ray's workers have not this module
        return os.getpid(), shared * task

    found = list(Engine("ray", jobs).run(tripled, 3, range(5)))
    assert sorted(result for _, result in found) == [0, 3, 6, 9, 12]
    assert os.getpid() not in {process for process, _ in found}


@pytest.mark.parametrize("engine", [("local", 1), ("local", 2), ("dask", 2), ("ray", 2)])
def test_results_come_as_soon_as_they_are_there(engine, request):
    """So that little is lost when a run is killed, and few tasks are in memory."""
    name, jobs = engine
    address = request.getfixturevalue("dask_cluster") if name == "dask" else None
    if name == "ray":
        request.getfixturevalue("ray_cluster")
    started = []

    def tasks():
        for task in range(20):
            started.append(task)
            yield task

    def slow(_, task):
        time.sleep(0.1)
        return task

    results = Engine(name, jobs, address).run(slow, None, tasks())
    assert next(results) in range(20)
    assert len(started) < 15
    assert len(list(results)) == 19


# joblib's own thread stumbles over what was taken back.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("fails_at", [0, 2, 9])
def test_an_error_in_making_a_task_is_raised(jobs, fails_at):
    with pytest.raises(ValueError, match="this task is damaged"):
        list(Engine(jobs=jobs).run(mul, 1, tasks_until(fails_at)))
    assert list(Engine(jobs=jobs).run(mul, 1, [1])) == [1]


def test_no_tasks_are_no_results():
    assert list(Engine().run(mul, 1, [])) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "locl"}, "Unknown engine 'locl'. Did you mean 'local'"),
        ({"jobs": 0}, "jobs=0; give a whole number of at least 1"),
        ({"jobs": 1.5}, "jobs=1.5; give a whole number"),
        ({"address": "tcp://here:1"}, 'of no use to the engine "local"'),
    ],
)
def test_wrong_engines_are_refused_before_anything_runs(arguments, message):
    with pytest.raises(ValueError, match=message):
        Engine(**arguments)
    names = {"name": "engine"}
    renamed = {names.get(key, key): value for key, value in arguments.items()}
    with pytest.raises(ValueError, match=message):
        Benchmark(make_black_box(), ["auna"], store="nowhere", **renamed)


def make_black_box():
    from art.estimators.classification import BlackBoxClassifier

    return BlackBoxClassifier(lambda x: np.zeros((len(x), 10)), (4,), 10, clip_values=(0, 1))


@pytest.mark.parametrize(("name", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_what_is_not_installed_is_named(monkeypatch, name, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"art-nip\[{name}\]"):
        list(Engine(name).run(mul, 1, [1]))


def growth(shared, task):
    """Tell whether a worker's TensorFlow would leave memory of a GPU to others."""
    return os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH")


def test_workers_share_gpus(monkeypatch):
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "")
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH")
    assert set(Engine().run(growth, None, range(2))) == {None}
    get_reusable_executor().shutdown()
    assert set(Engine(jobs=2).run(growth, None, range(4))) == {"true"}
