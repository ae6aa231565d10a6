"""`as_module`, other libraries' attacks, our checks and the plots on a device."""

from typing import Any

import foolbox
import numpy as np
import pytest
import torch
from art.defences.preprocessor import JpegCompression

from art_nip import as_module, defences
from art_nip.attacks import foreign
from art_nip.estimators.clones import defended as with_defence
from art_nip.testing import check_preprocessor
from tests.defences.helpers import QUICK
from tests.device.helpers import WAYS, name_of, tensor
from tests.foreign_tools import adv_lib_attacks
from tests.nip.helpers import fitted_on

EPS = 0.25


@pytest.mark.parametrize("way", WAYS, ids=name_of)
def test_module_gives_what_art_gives(on_device, bank, few, way):
    x, y = few
    defended = fitted_on(on_device, bank, way).attach(on_device)
    images = tensor(x, on_device)
    outputs = as_module(defended)(images)
    loss = torch.nn.functional.cross_entropy(outputs, torch.tensor(y, device=on_device.device))
    loss.backward()
    np.testing.assert_allclose(outputs.numpy(force=True), defended.predict(x), atol=1e-5)
    expected = defended.loss_gradient(x, np.eye(10, dtype=np.float32)[y])
    np.testing.assert_allclose(images.grad.numpy(force=True), expected, atol=1e-5)


def test_module_with_a_defence_of_numpy(on_device, few):
    defence = JpegCompression((0, 1), channels_first=True)
    module = as_module(with_defence(on_device, defence), straight_through=True)
    images = tensor(few[0], on_device)
    module(images).sum().backward()
    assert images.grad.device == on_device.device


def by_foolbox(classifier: Any) -> Any:
    return foreign.Foolbox(classifier, foolbox.attacks.LinfPGD(steps=3), EPS)


def by_adv_lib(classifier: Any) -> Any:
    return foreign.AdvLib(classifier, adv_lib_attacks().pgd_linf, EPS, steps=3)


def by_autoattack(classifier: Any) -> Any:
    return foreign.AutoAttack(classifier, EPS, version="custom", attacks=["apgd-ce"])


@pytest.mark.parametrize("make", [by_foolbox, by_adv_lib, by_autoattack])
def test_attacks_of_other_libraries(on_device, bank, few, make):
    x, y = few
    defended = fitted_on(on_device, bank, "similarity").attach(on_device)
    found = make(defended).generate(x, y)
    assert found.shape == x.shape
    assert 0 < np.abs(found - x).max() <= EPS + 1e-5


@pytest.mark.parametrize("name", ["nip", "tvm", "fdistill", "anti-adversary"])
def test_our_checks_of_preprocessors_pass(on_device, bank, few, name):
    named = defences.get(name)
    defence = named.create(on_device, **QUICK.get(name, {}))
    if named.learns:
        defence.fit(*bank)
    check_preprocessor(defence, few[0])
