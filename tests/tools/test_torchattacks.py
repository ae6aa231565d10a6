"""torchattacks on the module leaves what ART's PGD leaves on the defended classifier.

As in `tests/estimators/test_module_tools.py`: compared by McNemar's exact test at 0.001, and
rejected where the attack is given the undefended classifier.
"""

from typing import Any

import numpy as np
import pytest
import torch
from art.attacks.evasion import ProjectedGradientDescent

from art_nip import as_module
from art_nip.attacks import foreign
from art_nip.benchmark import Attack, Benchmark
from art_nip.utils.seeds import seeded
from tests.foreign_tools import chance_of
from tests.helpers import make_classifier
from tests.moving import Moved
from tests.tools.conftest import library

torchattacks = library("torchattacks")

EPS, STEPS, REJECTED = 0.15, 15, 0.001
STEP = EPS / 6


@pytest.fixture
def defended(lenet, fitted_nips) -> Any:
    defences = [Moved(), fitted_nips["pytorch"]]
    return make_classifier("pytorch", lenet["pytorch"], preprocessing_defences=defences)


def right(classifier: Any, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return classifier.predict(x).argmax(axis=1) == y


def test_pgd_leaves_what_arts_pgd_leaves(bare, defended, few):
    x, y = few
    art = ProjectedGradientDescent(
        defended, eps=EPS, eps_step=STEP, max_iter=STEPS, num_random_init=1, verbose=False
    )
    with seeded(0):
        left_by_art = right(defended, art.generate(x, y), y)
    left = {}
    for name, target in (("defended", defended), ("bare", bare)):
        attack = torchattacks.PGD(as_module(target), eps=EPS, alpha=STEP, steps=STEPS)
        with seeded(1):
            found = attack(torch.tensor(x), torch.tensor(y)).detach().numpy()
        assert np.abs(found - x).max() <= EPS + 1e-5
        left[name] = right(defended, found, y)
    assert 0.05 < left_by_art.mean() < 0.8
    assert chance_of(left["defended"], left_by_art) > REJECTED
    assert chance_of(left["bare"], left_by_art) < REJECTED


def test_its_classes_are_attacks_of_art_in_any_range(lenet, few):
    x, y = (part[:12] for part in few)
    wide = make_classifier(
        "pytorch", lenet["pytorch"], clip_values=(-255, 255), preprocessing=(-255, 510)
    )
    x = (510 * x - 255).astype(np.float32)
    attack = foreign.TorchAttacks(wide, torchattacks.PGD, eps=0.25, alpha=0.08, steps=5)
    with seeded(3):
        found = attack.generate(x, y)
    with seeded(3):
        np.testing.assert_array_equal(attack.generate(x, y), found)
    assert found.min() >= -255
    assert found.max() <= 255
    assert np.abs(found - x).max() <= 510 * (0.25 + 1e-5)
    assert right(wide, found, y).sum() < right(wide, x, y).sum() // 2


def test_its_classes_are_attacks_of_the_benchmark(bare, few, tmp_path):
    attack = foreign.TorchAttacks(bare, torchattacks.FGSM, eps=0.25)
    benchmark = Benchmark(
        bare,
        [Attack(attack, "fgsm of torchattacks"), Attack("fgsm", "fgsm", {"eps": 0.25})],
        store=tmp_path,
        verbose=False,
    )
    table = benchmark.run(few[0][:40], few[1][:40])
    assert not (table["metric"] == "error").any()
    theirs, ours = (
        table.query(f"attack == {name!r} and metric == 'accuracy'")["value"].item()
        for name in ("fgsm of torchattacks", "fgsm")
    )
    assert theirs == ours
