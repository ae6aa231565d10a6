"""A benchmark with the adaptive suite finds on a device what it finds on the host."""

from typing import Any

import numpy as np

from art_nip import zoo
from art_nip.benchmark import Attack, Benchmark
from art_nip.benchmark.schema import Kind, Role
from art_nip.benchmark.suite import members
from tests.benchmark.helpers import untimed
from tests.helpers import make_classifier

SUITE = {"eps": 0.15, "max_iter": 2, "queries": 50}
N = 4


def suppressing(classifier: Any, kind: str) -> Any:
    """Return an untrained classifier with channel-wise activation suppressing."""
    model = zoo.create("lenet5", input_shape=(1, 28, 28), nb_classes=10, defence="cas")
    weights = {**zoo.get_weights(model), **zoo.get_weights(classifier.model)}
    rng = np.random.default_rng(0)
    grown = {
        name: values if name in zoo.get_weights(classifier.model) else rng.random(values.shape)
        for name, values in weights.items()
    }
    zoo.set_weights(model, {name: values.astype(np.float32) for name, values in grown.items()})
    return make_classifier("pytorch", model.eval(), preprocessing=(0.1, 0.9), device_type=kind)


def test_as_on_the_host(pair, bank, digits, tmp_path):
    x, y = (part[:N] for part in digits["test"])
    tables = []
    for classifier, kind in zip(pair, ("gpu", "cpu"), strict=True):
        benchmark = Benchmark(
            classifier,
            [Attack("adaptive", parameters=SUITE), "pgd"],
            {"nip": "nip", "ss": "ss", "cas": suppressing(classifier, kind)},
            threats=["oblivious", "adaptive"],
            store=tmp_path / kind,
            verbose=False,
        )
        tables.append(untimed(benchmark.run(x, y, bank=bank)))
        assert (tmp_path / kind / "table.csv").exists()
    assert not (tables[0].metric == "error").any(), tables[0][tables[0].metric == "error"]
    found = {attack for attack in tables[0].attack if attack.startswith("adaptive: ")}
    kinds = {Kind.NIP, Kind.PREPROCESSOR, Kind.SUPPRESSING}
    assert found >= {f"adaptive: {each.role}" for each in members(**SUITE) if kinds & {*each.kinds}}
    assert len(set(Role)) <= len(found)
    exact = tables[0].metric != "gradient"
    np.testing.assert_allclose(tables[0][exact].value, tables[1][exact].value, atol=1e-4)
