"""A benchmark with the adaptive suite, on a device."""

import pytest

from art_nip import zoo
from art_nip.benchmark import Attack, Benchmark
from art_nip.benchmark.schema.words import Role
from art_nip.zoo import training
from tests.benchmark.helpers import keys
from tests.helpers import make_classifier

SUITE = {"eps": 0.15, "max_iter": 2, "queries": 50}


@pytest.fixture
def benchmarks(pair, tmp_path):
    """The same benchmark on the device and on the host."""

    def suppressing(kind):
        training.seed_weights("pytorch", 0)
        model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10, defence="cas")
        return make_classifier("pytorch", model.eval(), device_type=kind)

    return [
        Benchmark(
            classifier,
            [Attack("adaptive", parameters=SUITE)],
            {"nip": "nip", "cas": suppressing(kind)},
            threats=["adaptive"],
            store=tmp_path / kind,
            verbose=False,
        )
        for classifier, kind in zip(pair, ("gpu", "cpu"), strict=True)
    ]


def test_results_of_the_host_are_those_of_the_device(benchmarks, bank, few):
    arrays = (*few, bank)
    of_device, of_host = (keys(each, arrays) for each in benchmarks)
    assert of_device == of_host


def test_every_member_of_the_suite_runs(benchmarks, bank, digits):
    x, y = (part[:2] for part in digits["test"])
    table = benchmarks[0].run(x, y, bank=bank)
    errors = table[table.metric == "error"]
    assert errors.empty, errors.to_string()
    assert {f"adaptive: {role}" for role in {*Role} - {Role.CASCADE}} <= {*table.attack}
