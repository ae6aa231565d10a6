"""Classifiers of two classes, which ART's attacks refuse or trip over."""

from typing import Any

import numpy as np
import pytest
import torch

from art_nip import attacks
from art_nip.utils.seeds import seeded
from tests.attacks.test_ranges import QUICK
from tests.helpers import make_classifier


@pytest.fixture(scope="module")
def classifier() -> Any:
    """A classifier of 3×8×8 images by whether their first channel is the brighter one."""
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2))
    weight = torch.ones(2, 192) / 64
    weight[0, 64:], weight[1, :64] = 0, 0
    with torch.no_grad():
        model[1].weight.copy_(weight)
        model[1].bias.copy_(torch.tensor([0.5, 0.0]))
    return make_classifier("pytorch", model.eval(), (3, 8, 8), 2)


@pytest.mark.parametrize("name", [name for name in attacks.NAMES if name != "steering"])
def test_two_classes_are_enough(name, classifier):
    rng = np.random.default_rng(0)
    x = (0.5 + 0.01 * rng.standard_normal((6, 3, 8, 8))).astype(np.float32)
    y = classifier.predict(x).argmax(axis=1)
    attack = attacks.get(name).create(classifier, **QUICK.get(name, {}))
    for labels in (y, np.eye(2)[y]):
        with seeded(0):
            found = attack.generate(x, labels)
        assert (classifier.predict(found).argmax(axis=1) != y).any()


def test_the_ratio_of_three_scores_needs_three(classifier):
    with pytest.raises(ValueError, match=r"compares three scores, and this classifier has 2"):
        attacks.get("apgd").create(classifier, loss_type="difference_logits_ratio")
