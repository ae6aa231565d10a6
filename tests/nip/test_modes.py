"""Whatever mode the caller's framework is in, NIP gives the same, and the mode stays."""

from contextlib import contextmanager

import numpy as np
import pytest
import torch

from art_nip import NIPPreprocessor, defences
from tests.helpers import autocast, make_classifier, on_device
from tests.nip.helpers import fitted

RETRIEVALS = ("similarity", "nearest", "class")


@contextmanager
def default_double():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


MODES = {
    "no_grad": torch.no_grad,
    "inference": torch.inference_mode,
    "autocast": autocast,
    "double": default_double,
    "deterministic": deterministic,
    "anomalies": torch.autograd.detect_anomaly,
    "no data": lambda: torch.device("meta"),
    "NumPy's errors": lambda: np.errstate(all="raise"),
}


@pytest.fixture(scope="module")
def made(lenet, digits):
    """A fitted NIP of each retrieval, its classifier, its images, and what it makes of some."""
    classifier = make_classifier("pytorch", lenet["pytorch"])
    bank, x = digits["bank"][0][:100], digits["test"][0][:6]
    nips = {name: fitted(classifier, bank, retrieval=name) for name in RETRIEVALS}
    return {name: (nip, classifier, bank, x, nip(x)[0]) for name, nip in nips.items()}


@pytest.mark.filterwarnings("ignore:Anomaly Detection", "ignore:Early layers tell")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("retrieval", RETRIEVALS)
def test_a_mode_of_the_caller_changes_nothing(made, retrieval, mode, tmp_path):
    nip, classifier, bank, x, expected = made[retrieval]
    tensor = on_device(x)
    nip.set_params(strength=nip.strength)  # the reader is made anew, in the mode
    with MODES[mode]():
        found = {
            "call": nip(x)[0],
            "forward": nip.forward(tensor)[0].numpy(force=True),
            "fit": fitted(classifier, bank, retrieval=retrieval)(x)[0],
        }
        nip.save(tmp_path / "a")
        found["file"] = NIPPreprocessor.load(tmp_path / "a", classifier)(x)[0]
    found["afterwards"] = nip(x)[0]
    for way, defended in found.items():
        np.testing.assert_allclose(defended, expected, atol=1e-5, err_msg=way)


@pytest.mark.parametrize("name", ["nip", "stl", "tvm"])
def test_graphs_of_tensorflow_are_refused(name, lenet, digits):
    import tensorflow as tf

    classifier = make_classifier("tensorflow", lenet["tensorflow"])
    x = np.moveaxis(digits["test"][0][:2], 1, -1)
    defence = fitted(classifier, x) if name == "nip" else defences.get(name).create(classifier)
    with pytest.raises(RuntimeError, match=r"runs eagerly.*call it outside tf\.function"):
        tf.function(lambda images: defence.forward(images)[0])(tf.constant(x))
