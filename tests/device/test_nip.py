"""NIP does on a device what it does on the host, with every retrieval and every evidence."""

from typing import Any

import numpy as np
import pytest
import torch

from art_nip import NIPPreprocessor
from art_nip.estimators.pytorch import PyTorchAdapter
from art_nip.nip.bank import DTYPES
from art_nip.nip.retrieval import ClassEvidence
from tests.device.helpers import ROUNDING, WAYS, assert_alike, name_of, tensor
from tests.nip.helpers import fitted_on


def everything(nip: NIPPreprocessor, classifier: Any, x: np.ndarray, y: np.ndarray) -> dict:
    """Return what a NIP says of images, and what the classifier that it is attached to says."""
    defended = nip.attach(classifier)
    given = tensor(x, classifier)
    forwarded, _ = nip.forward(given)
    forwarded.square().sum().backward()
    assert forwarded.device == given.grad.device == classifier.device
    found = {
        "call": nip(x)[0],
        "forward": forwarded.numpy(force=True),
        "backward": given.grad.numpy(force=True),
        "influence": nip.influence(x),
        "similarity": nip.similarity(x),
        "estimate_gradient": nip.estimate_gradient(x, x),
        "predict": defended.predict(x),
        "loss_gradient": defended.loss_gradient(x, np.eye(10, dtype=np.float32)[y]),
        "class_gradient": defended.class_gradient(x[:2]),
        "lead": nip.surrogate_losses(x, y, (y + 1) % 10)[-1].gradient(),
    }
    is_class = isinstance(nip.retrieval, ClassEvidence)
    found["found"] = nip.evidence(x) if is_class else nip.retrieve(x)
    return found


@pytest.mark.parametrize("bank_dtype", DTYPES)
@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_as_on_the_host(pair, bank, few, way, bank_dtype, tmp_path):
    found = []
    for classifier in pair:
        np.random.seed(0)  # noqa: NPY002 - of the candidates that are drawn
        nip = fitted_on(classifier, bank, way, bank_dtype=bank_dtype)
        found.append(everything(nip, classifier, *few))
        nip.save(tmp_path / "nip")
        again = NIPPreprocessor.load(tmp_path / "nip", classifier)
        np.testing.assert_array_equal(again(few[0])[0], nip(few[0])[0])
    assert found[0].keys() == found[1].keys()
    for name, values in found[0].items():
        assert_alike(values, found[1][name], 1e-5, 0.999, name)


@pytest.mark.parametrize("bank_dtype", DTYPES)
@pytest.mark.parametrize("way", ["similarity", "nearest"])
def test_a_bank_that_does_not_fit_stays_on_the_host(
    on_device, bank, few, way, bank_dtype, monkeypatch
):
    nip = fitted_on(on_device, bank, way, bank_dtype=bank_dtype)
    expected = nip(few[0])[0]
    monkeypatch.setattr(PyTorchAdapter, "held", lambda self, array: torch.from_numpy(array))
    other = fitted_on(on_device, bank, way, bank_dtype=bank_dtype)
    np.testing.assert_array_equal(other(few[0])[0], expected)


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_the_model_may_move(pair, bank, few, way):
    classifier, device = pair[0], pair[0].device
    nip = fitted_on(classifier, bank, way)
    expected = nip(few[0])[0]
    try:
        classifier.model.to("cpu")
        np.testing.assert_allclose(nip(few[0])[0], expected, **ROUNDING)
    finally:
        classifier.model.to(device)
    np.testing.assert_array_equal(nip(few[0])[0], expected)
