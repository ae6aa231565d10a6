"""Clones have all that an estimator has, wherever its class keeps it."""

import pytest
import torch
from art.estimators.classification import PyTorchClassifier

from art_nip.estimators.clones import clone


class Slotted(PyTorchClassifier):
    __slots__ = ("empty", "extra")


class Sealed(PyTorchClassifier):
    """Refuses to be changed."""

    sealed = False

    def __setattr__(self, name, value):
        if self.sealed:
            raise AttributeError(f"{name} is read-only")
        super().__setattr__(name, value)


def classifier_of(kind):
    return kind(torch.nn.Linear(3, 2), torch.nn.CrossEntropyLoss(), (3,), 2)


def test_slots_are_cloned():
    given = classifier_of(Slotted)
    given.extra = ["something"]
    other = clone(given)
    assert other.extra is given.extra
    assert not hasattr(other, "empty")


def test_what_refuses_to_be_changed_is_cloned():
    given = classifier_of(Sealed)
    vars(given)["sealed"] = True
    other = clone(given)
    assert other.model is given.model
    assert other.preprocessing_operations is not given.preprocessing_operations
    with pytest.raises(AttributeError, match="read-only"):
        other.nb_classes = 3
