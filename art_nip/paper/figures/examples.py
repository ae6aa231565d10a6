"""Adversarial images of the comparison, and what defences make of them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from art_nip.data import Images
from art_nip.metrics import successful
from art_nip.paper import grids
from art_nip.paper.fitted import fitted
from art_nip.paper.setting import Setting
from art_nip.paper.subjects import Loaded


def attacked(subject: Loaded, setting: Setting, most: int) -> dict[str, Images]:
    """Return the first adversarial images of each attack, in the order of the subject's images.

    :param most: how many at most; all attacks have equally many.
    """
    results = grids.comparison(subject, setting).held_out
    found = results.examples(len(subject.x), len(results.attacks))
    return {} if found is None else {name: x[:most] for name, x in found.adversarial.items()}


def fooled(subject: Loaded, x_adv: Images) -> Any:
    """Return which adversarial images the classifier gets wrong, shape (N,), bool."""
    y = subject.y[: len(x_adv)]
    return successful(y, y, subject.classifier.predict(x_adv).argmax(axis=1))


@cache
def defence(subject: Loaded, setting: Setting, name: str) -> Any:
    """Return a named defence of the subject's classifier, fitted on its bank if it learns."""
    return fitted(subject, setting, name)


def defended(preprocessor: Any, x: Images) -> Images:
    """Return what a preprocessor makes of images, float32."""
    return np.asarray(preprocessor(x)[0], dtype=np.float32)
