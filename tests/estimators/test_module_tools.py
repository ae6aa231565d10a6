"""Attack libraries on the module leave what ART's attacks leave on the defended classifier.

ART's PGD, and each library's with the same steps, have different random starts. So what they leave
is compared by McNemar's exact test, at 0.001: with 100 images it takes 11 that only one of them
fools, and none that only the other does, to reject. Each attack must also be rejected when it
is given the undefended classifier, as it would be by mistake: the test can fail.
"""

from typing import Any

import foolbox
import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent
from art.estimators.classification import PyTorchClassifier
from pyautoattack.autopgd_base import APGDAttack

from art_nip import NIPPreprocessor, as_module
from art_nip.utils.seeds import seeded
from tests.foreign_tools import adv_lib_attacks, chance_of
from tests.helpers import make_classifier, on_device
from tests.moving import Moved

EPS, STEPS, REJECTED = 0.15, 15, 0.001
STEP = EPS / 6


@pytest.fixture(scope="module")
def images(digits) -> tuple[np.ndarray, np.ndarray]:
    return tuple(part[:100] for part in digits["test"])


@pytest.fixture(scope="module")
def bare(lenet) -> PyTorchClassifier:
    return make_classifier("pytorch", lenet["pytorch"])


@pytest.fixture(scope="module")
def defended(lenet, fitted_nips, bare) -> PyTorchClassifier:
    nip: NIPPreprocessor = fitted_nips["pytorch"]
    return make_classifier("pytorch", lenet["pytorch"], preprocessing_defences=[Moved(), nip])


@pytest.fixture(scope="module")
def left_by_art(defended, images) -> np.ndarray:
    attack = ProjectedGradientDescent(
        defended, eps=EPS, eps_step=STEP, max_iter=STEPS, num_random_init=1, verbose=False
    )
    with seeded(0):
        return right(defended, attack.generate(*images), images[1])


def right(classifier: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return classifier.predict(x).argmax(axis=1) == y


def by_foolbox(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS)
    model = foolbox.PyTorchModel(module, bounds=(0, 1), device="cpu")
    return attack(model, x, y, epsilons=EPS)[1]


def by_adv_lib(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    function = adv_lib_attacks().pgd_linf
    found: torch.Tensor = function(module, x, y, EPS, steps=STEPS, absolute_step_size=STEP)
    return found


def by_autoattack(module: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    # It has APGD instead, which finds its step itself.
    attack = APGDAttack(
        module, n_restarts=1, n_iter=STEPS, eps=EPS, norm="Linf", loss="ce", device=x.device, seed=0
    )
    return attack.perturb(x, y)


@pytest.mark.parametrize("attack", [by_foolbox, by_adv_lib, by_autoattack])
def test_attacks_leave_what_arts_pgd_leaves(attack, bare, defended, images, left_by_art):
    x, y = images
    left = {}
    for name, target in (("defended", defended), ("bare", bare)):
        with seeded(1):
            found = attack(as_module(target), on_device(x), on_device(y)).numpy(force=True)
        assert np.abs(found - x).max() <= EPS + 1e-5
        left[name] = right(defended, found, y)
    assert 0.05 < left_by_art.mean() < 0.8
    assert chance_of(left["defended"], left_by_art) > REJECTED
    assert chance_of(left["bare"], left_by_art) < REJECTED
