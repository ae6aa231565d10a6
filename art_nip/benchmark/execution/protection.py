"""Models, defences and attacks are given copies of arrays, as they may write to their input.

The images of a benchmark are shared by all cells, and must not change.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from art_nip.attacks.gradient_estimators import zero_where_there_is_none
from art_nip.attacks.labels import labels_for
from art_nip.benchmark.execution.images import Images, Labels
from art_nip.estimators.clones import clone_with
from art_nip.estimators.single_precision import single_precision


class GivesCopies:
    """A mixin for ART estimators that gives their model and their defences copies."""

    def _apply_preprocessing(self, x: Any, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
        preprocess = super()._apply_preprocessing  # type: ignore[misc]
        result: tuple[Any, Any] = preprocess(own(x), *arguments, **keywords)
        return result


def protected(estimator: Any) -> Any:
    """Return a clone of an estimator in single precision that gives model and defences copies.

    ART hands NumPy arrays to PyTorch without a copy, so a model that works in place would change
    the images of an attack that goes on with them. Where a model or a defence gives no gradient, it
    is zero, which the checklist finds.

    :param estimator: an ART estimator. It stays as it is; the model is shared.
    """
    return clone_with(GivesCopies, single_precision(zero_where_there_is_none(estimator)))


def generated(attack: Any, x: Images, y: Labels) -> Images:
    """Return the adversarial examples of an attack, which is given copies.

    :param attack: an attack of ART, or what has its `generate`.
    :param x: images, shape (N, *input_shape).
    :param y: their true classes, shape (N,).
    """
    examples = attack.generate(x.copy(), labels_for(attack, y.copy()))
    return np.asarray(examples, np.float32)


def own(x: Any) -> Any:
    """Return a copy of an array or a tensor; gradients pass through the copy of a tensor."""
    if isinstance(x, np.ndarray):
        return x.copy()
    # Tensors of TensorFlow have no `clone`; they cannot be written to, and need none.
    return x.clone() if hasattr(x, "clone") else x
