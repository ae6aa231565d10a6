"""What the benchmarks behind the exhibits hold."""

import numpy as np

from art_nip import zoo
from art_nip.benchmark.schema.words import Protocol
from art_nip.paper import grids
from art_nip.paper.setting import Setting
from art_nip.paper.subjects import Loaded
from art_nip.zoo.classifiers import TrainedModel, as_classifier


def test_numbers_of_neurons_stay_within_the_parts_of_a_narrow_layer(monkeypatch, tmp_path):
    trained = TrainedModel("resnet20", (3, 16, 16), 10, 0.5, 0.25)
    model = zoo.create("resnet20", input_shape=(3, 16, 16), nb_classes=10).eval()
    x = np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    subject = Loaded(
        "gtsrb-resnet20",
        "ResNet-20",
        as_classifier(model, "pytorch", (3, 16, 16), 10),
        x,
        np.zeros(2, np.int64),
        bank=(x, np.zeros(2, np.int64)),
        identity={},
        trained=trained,
        accuracy=None,
        label_names=[],
    )
    monkeypatch.setattr(grids, "_nip", lambda subject, setting, protocol, varied: varied)
    varied = grids.counts(subject, Setting(tmp_path), Protocol.HELD_OUT)
    # Of 64 neurons, 6 are in front and 38 in the tail.
    assert [name for name in varied if name.startswith("k1")] == [
        f"k1={k}" for k in (0, 1, 2, 3, 5)
    ]
    assert [name for name in varied if name.startswith("k2")] == [f"k2={k}" for k in grids.COUNTS]
