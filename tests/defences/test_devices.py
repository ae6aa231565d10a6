"""Defences on devices: what is made and brought there once, and where float64 is computed."""

import copy
import pickle

import numpy as np
import pytest
import torch

from art_nip import defences
from art_nip.defences import edsr
from art_nip.defences.sparse_coding import Spectra
from art_nip.utils import pytorch
from tests.helpers import FRAMEWORKS, make_classifier, to_framework
from tests.models import SMALL_SHAPE, small

QUICK = {
    "stl": {"n_crops": 16, "n_filters": 4, "iterations": 2, "seed": 0},
    "sr": {"features": 4, "blocks": 1, "steps": 1, "seed": 0},
}


def pictures(framework, n=4, side=16):
    x = np.random.default_rng(0).random((n, 3, side, side), np.float32)
    return to_framework(x, framework)


def fitted(name, framework="pytorch", **parameters):
    classifier = make_classifier(framework, small(framework), SMALL_SHAPE[framework], 4)
    given = {**QUICK.get(name, {}), **parameters}
    defence = defences.get(name).create(classifier, **given)
    if defences.get(name).learns:
        defence.fit(pictures(framework, 20))
    return defence


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_spectra_are_made_once_for_each_size_of_images(framework, monkeypatch):
    defence, made, of = fitted("stl", framework, batch_size=1), [], Spectra.of
    monkeypatch.setattr(Spectra, "of", lambda *given: made.append(given[1:3]) or of(*given))
    expected = defence(pictures(framework))[0]
    defence(pictures(framework, side=20))
    np.testing.assert_array_equal(defence(pictures(framework))[0], expected)
    assert made == [(16, 16), (20, 20), (16, 16)]
    defence.set_params(lmbda=0.1)
    defence.fit(pictures(framework, 20))
    del made[:]
    other = defence(pictures(framework))[0]
    assert made == [(16, 16)]
    assert np.abs(other - expected).max() > 1e-3


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_weights_are_brought_to_the_device_once(framework, monkeypatch):
    defence, brought, tensor = fitted("sr", framework, batch_size=1), [], edsr.tensor
    defence(pictures(framework))
    monkeypatch.setattr(
        edsr, "tensor", lambda array, like: brought.append(array) or tensor(array, like)
    )
    expected = defence(pictures(framework))[0]
    assert not brought
    for other in (copy.deepcopy(defence), pickle.loads(pickle.dumps(defence))):
        np.testing.assert_array_equal(other(pictures(framework))[0], expected)
    assert brought
    defence.fit(1 - pictures(framework, 20) ** 2)
    del brought[:]
    defence(pictures(framework))
    assert len(brought) == len(edsr.shapes(3, 4, 1))


@pytest.mark.parametrize("name", ["fdistill", "stl", "sr"])
def test_a_batch_brings_nothing_but_images_to_the_device(name, monkeypatch):
    defence, brought, tensor = fitted(name, batch_size=1), [], torch.tensor
    defence(pictures("pytorch"))
    monkeypatch.setattr(
        torch,
        "tensor",
        lambda values, **named: brought.append(values.shape) or tensor(values, **named),
    )
    defence(pictures("pytorch"))
    assert brought == [(1, 3, 16, 16)] * 4


@pytest.mark.parametrize("name", ["fdistill", "sr"])
def test_what_needs_float64_is_left_to_the_host_where_the_device_has_none(name, monkeypatch):
    defence, x, doubles = fitted(name), torch.from_numpy(pictures("pytorch")), []
    expected = defence.forward(x)[0]
    monkeypatch.setattr(pytorch, "has_float64", lambda device: False)
    cpu = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda x: doubles.append(x.dtype) or cpu(x))
    assert torch.equal(defence.forward(x)[0], expected)
    assert torch.float32 in doubles
    assert torch.float64 not in doubles


@pytest.mark.parametrize("name", ["fdistill", "tvm", "stl", "sr"])
def test_a_defence_is_on_the_very_device_of_the_classifier(name, monkeypatch):
    classifier = make_classifier("pytorch", small("pytorch"), SMALL_SHAPE["pytorch"], 4)
    monkeypatch.setattr(classifier, "_device", torch.device("cuda:1"))
    assert defences.get(name).create(classifier).device == torch.device("cuda:1")


def test_constants_are_few():
    defence = fitted("fdistill")
    for side in range(16, 60):
        defence(pictures("pytorch", 1, side))
    assert len(defence._constants) <= 16
