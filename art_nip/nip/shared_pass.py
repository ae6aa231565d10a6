"""Predictions that use the forward pass which NIP has made already.

"class" retrieval asks the model about each image, and leaves most images as they are. What the
model says of these is known then, and `predict` of a classifier that NIP is attached to needs no
second pass for it.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from art_nip.estimators.clones import clone, clone_with, made_of

SHARING = (
    ("art.estimators.classification.pytorch", "PyTorchClassifier"),
    ("art.estimators.classification.tensorflow", "TensorFlowV2Classifier"),
)
"""The classes whose `predict` is known to be no more than defences, model and post-processing."""


@dataclass(frozen=True)
class Answers:
    """What the model gave for a batch of images, and whether it stands.

    :param defence: the NIP that asked.
    :param outputs: float32, shape (N, nb_classes).
    :param stand: whether NIP left the image as it is, to the last bit, shape (N,).
    """

    defence: Any
    outputs: npt.NDArray[np.float32]
    stand: npt.NDArray[np.bool_]


_kept: ContextVar[list[Answers] | None] = ContextVar("kept", default=None)
"""The answers of the prediction that this thread is making; None outside of one."""


def wanted() -> list[Answers] | None:
    """Return where the prediction of this thread takes answers from; None if there is none."""
    return _kept.get()


@contextmanager
def _keeping() -> Iterator[list[Answers]]:
    kept: list[Answers] = []
    before = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(before)


class SharesPass:
    """A mixin for ART's classifiers: the model predicts only what NIP has no answer for."""

    keeps_predictions = True
    """What `predict` gives is what the class behind this gives; `as_module` asks."""

    def predict(
        self,
        x: npt.NDArray[Any],
        batch_size: int = 128,
        training_mode: bool = False,
        **keywords: Any,
    ) -> npt.NDArray[np.float32]:
        """Return scores, shape (N, nb_classes), as ART's `predict` does."""
        this: Any = self
        # As ART does for its own classes, lists become arrays.
        x = x if isinstance(x, np.ndarray) else np.array(x)
        last = (this.preprocessing_defences or [None])[-1]
        if training_mode or last is None:
            # In training mode, dropout is on: that was another pass.
            predict: Any = super().predict  # type: ignore[misc]
            return predict(x, batch_size, training_mode, **keywords)  # type: ignore[no-any-return]
        with _keeping() as kept:
            images, _ = this._apply_preprocessing(x, y=None, fit=False)
        given = [answers for answers in kept if answers.defence is last]
        if given and not last._adapter.is_of(this):
            given = []
        # ART's class, without defences and mixins: the images have been through these.
        behind = clone(this, made_of(type(this))[1])
        behind.preprocessing_operations, behind.postprocessing_defences = [], None
        if not images.shape[0] or sum(len(answers.stand) for answers in given) != len(images):
            scores = behind.predict(images, batch_size, **keywords)
        else:
            scores = np.concatenate([answers.outputs for answers in given])
            changed = ~np.concatenate([answers.stand for answers in given])
            if changed.any():
                scores[changed] = behind.predict(images[changed], batch_size, **keywords)
        predictions: npt.NDArray[np.float32] = this._apply_postprocessing(preds=scores, fit=False)
        return predictions


def sharing(estimator: Any, defence: Any) -> Any:
    """Return a clone of a classifier that shares NIP's pass; others come back as they are.

    A class of the user's own may do more in `predict` than ART's classes do.

    :param estimator: an ART classifier.
    :param defence: the defence that it has got; NIP shares if it asks the model, and is the last.
    """
    retrieval = getattr(defence, "retrieval", None)
    mixins, kind = made_of(type(estimator))
    is_arts = (kind.__module__, kind.__name__) in SHARING
    own = is_arts and getattr(sys.modules.get(kind.__module__), kind.__name__) is kind
    if not getattr(retrieval, "asks_model", False) or not own:
        return estimator
    if any("predict" in vars(mixin) for mixin in mixins):
        return estimator
    return clone_with(SharesPass, estimator)
