"""What the benchmarks behind the exhibits hold."""

from types import SimpleNamespace

import numpy as np
import pytest

from art_nip import zoo
from art_nip.benchmark.schema.words import Protocol
from art_nip.paper import grids
from art_nip.paper.setting import Setting
from art_nip.paper.subjects import Loaded
from art_nip.zoo.architectures import Dense
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


@pytest.mark.parametrize("name", ["alexnet", "lenet5", "mobilenet", "resnet20", "vgg19"])
def test_layers_are_in_front_of_the_scores(name):
    subject = SimpleNamespace(trained=TrainedModel(name, (3, 32, 32), 10, 0.5, 0.25))
    dense = [
        f"classifier.{place}"
        for place, layer in enumerate(zoo.architecture_of(name, 10).classifier)
        if isinstance(layer, Dense)
    ]
    found = grids._layers(subject)
    assert found[found.index("auto") + 1 :] == dense[:-1]
