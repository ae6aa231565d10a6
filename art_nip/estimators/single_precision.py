"""A clone of an ART classifier that works in float32 whatever NumPy arrays it is given.

Some of ART's attacks and defences hand float64 to a model whose weights are float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from art_nip.estimators.clones import clone_with


class SinglePrecision:
    """What makes a class of ART estimators one of clones."""

    def _apply_preprocessing(self, x: Any, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
        if not getattr(self, "all_framework_preprocessing", True):
            # On TensorFlow, ART's class_gradient gives tensors to defences for NumPy.
            x = np.asarray(x)
        preprocess = super()._apply_preprocessing  # type: ignore[misc]
        x, y = preprocess(_not_a_leaf(_single(x)), *arguments, **keywords)
        return _single(x), y


def single_precision(estimator: Any) -> Any:
    """Return a clone of an estimator that takes float64 arrays, and whose defences may return them.

    On NumPy 2, ART's `BoundaryAttack` and `HopSkipJump` predict float64 images, and its
    `FeatureSqueezing` returns them; PyTorch then raises "Input type (double) and bias type (float)
    should be the same". Tensors are left as they are, but for those that reach defences for NumPy
    alone: these get arrays.

    :param estimator: an ART estimator of any framework. It stays as it is; the model is shared, and
        so are the defences that it has now.
    :return: of a subclass of the estimator's class that goes by the same name; a clone is returned
        as it is.
    :raises TypeError: if it is no ART estimator.
    """
    if not hasattr(estimator, "preprocessing_operations"):
        raise TypeError(
            f"single_precision takes an ART estimator, not {type(estimator).__name__}: wrap the "
            "model, for example in PyTorchClassifier or TensorFlowV2Classifier."
        )
    return clone_with(SinglePrecision, estimator)


def _not_a_leaf(x: Any) -> Any:
    """Return images that a model may change in place; PyTorch lets it change no leaf."""
    return x.clone() if getattr(x, "requires_grad", False) and x.is_leaf else x


def _single(x: Any) -> Any:
    return x.astype(np.float32) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x
