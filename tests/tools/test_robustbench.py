"""RobustBench takes the module as one of its own models, and its models are classifiers here."""

import sys
from typing import Any

import numpy as np
import pytest
import torch

from art_nip import as_module
from art_nip.benchmark.fingerprints import fingerprint
from art_nip.utils.seeds import seeded
from art_nip.zoo import origins
from art_nip.zoo.origins.robustbench import robustbench_utils
from tests.helpers import make_classifier
from tests.moving import Moved
from tests.tools.conftest import library

library("torchvision")
pytest.importorskip("timm", reason="RobustBench needs timm: it is run by make test-tools")
pyautoattack = pytest.importorskip("pyautoattack", reason="it is run by make test-tools")
try:
    utils = robustbench_utils()
except ImportError as error:
    pytest.skip(f"{error} It is run by make test-tools", allow_module_level=True)

EPS = 0.3


@pytest.fixture
def defended(lenet, fitted_nips) -> Any:
    defences = [Moved(), fitted_nips["pytorch"]]
    return make_classifier("pytorch", lenet["pytorch"], preprocessing_defences=defences)


def test_its_clean_accuracy_is_that_of_the_defended_classifier(defended, bare, few):
    x, y = few
    counted = utils.clean_accuracy(as_module(defended), torch.tensor(x), torch.tensor(y))
    assert counted == pytest.approx(np.mean(defended.predict(x).argmax(axis=1) == y))
    alone = utils.clean_accuracy(as_module(bare), torch.tensor(x), torch.tensor(y))
    assert alone == pytest.approx(np.mean(bare.predict(x).argmax(axis=1) == y))
    assert alone != counted


class ItsAutoAttack(pyautoattack.AutoAttack):
    """AutoAttack as RobustBench calls it; the package that it declares has renamed parameters."""

    def __init__(self, module: torch.nn.Module, *, log_path: Any, **parameters: Any) -> None:
        assert log_path is None
        super().__init__(module, **parameters)

    def run_standard_evaluation(self, x: Any, y: Any, bs: int, state_path: Any) -> torch.Tensor:
        assert state_path is None
        adversarial: torch.Tensor = super().run_standard_evaluation(x, y, batch_size=bs)[0]
        return adversarial


def test_its_benchmark_takes_it(defended, few, monkeypatch):
    x, y = (torch.tensor(part[:20]) for part in few)
    evaluation = sys.modules["robustbench.eval"]
    # Its own images would be fetched.
    monkeypatch.setattr(evaluation, "AutoAttack", ItsAutoAttack)
    monkeypatch.setattr(evaluation, "load_clean_dataset", lambda *_: (x, y))
    with seeded(0):
        clean, robust = evaluation.benchmark(
            as_module(defended), n_examples=20, dataset="cifar10", threat_model="Linf", eps=EPS
        )
    right = defended.predict(x.numpy()).argmax(axis=1) == y.numpy()
    assert clean == pytest.approx(right.mean())
    assert robust < 0.3 * clean


# Its models


def test_its_models_are_for_images_in_the_unit_range():
    classifier = origins.load(robustbench="Wong2020Fast", threat="Linf", weights=None)
    assert (tuple(classifier.input_shape), classifier.nb_classes) == ((3, 32, 32), 10)
    x = np.random.default_rng(0).random((2, 3, 32, 32), np.float32)
    with torch.no_grad():
        expected = classifier.model(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(classifier.predict(x), expected, atol=1e-5)


def test_a_file_in_its_folder(tmp_path):
    entry = utils.all_models[utils.BenchmarkDataset("cifar10")][utils.ThreatModel("Linf")][
        "Wong2020Fast"
    ]
    torch.manual_seed(3)
    model = entry["model"]().eval()
    (tmp_path / "cifar10" / "Linf").mkdir(parents=True)
    torch.save(model.state_dict(), tmp_path / "cifar10" / "Linf" / "Wong2020Fast.pt")
    given = {"robustbench": "Wong2020Fast", "threat": "Linf", "folder": str(tmp_path)}
    classifier = origins.load(**given, classes=[7, 2, 5])
    x = np.random.default_rng(0).random((2, 3, 32, 32), np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(x)).numpy()[:, [7, 2, 5]]
    np.testing.assert_allclose(classifier.predict(x), expected, atol=1e-4)
    assert fingerprint(classifier) == fingerprint(origins.load(**given, classes=[7, 2, 5]))


def test_names_that_it_does_not_have():
    with pytest.raises(ValueError, match=r"cifar10 'Wong2020Fats'\. Did you mean 'Wong2020Fast'"):
        origins.load(robustbench="Wong2020Fats", threat="Linf")
