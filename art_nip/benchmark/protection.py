"""Arrays are handed out as copies, so that whoever writes to its input changes nothing else.

Attacks, defences and models may work in place; the images of a benchmark are shared by all cells.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from art_nip.estimators.clones import clone_with
from art_nip.estimators.single_precision import single_precision


class GivesCopies:
    """What makes a class of ART estimators one whose model and defences are given copies."""

    def _apply_preprocessing(self, x: Any, *arguments: Any, **keywords: Any) -> tuple[Any, Any]:
        preprocess = super()._apply_preprocessing  # type: ignore[misc]
        result: tuple[Any, Any] = preprocess(own(x), *arguments, **keywords)
        return result


def protected(estimator: Any) -> Any:
    """Return a clone in single precision that gives its model and its defences copies.

    ART hands NumPy arrays to PyTorch without a copy, so a model that works in place would change
    the images of an attack that goes on with them.

    :param estimator: an ART estimator. It stays as it is; the model is shared.
    """
    return clone_with(GivesCopies, single_precision(estimator))


def own(x: Any) -> Any:
    """Return an array or a tensor that nobody else has; gradients pass through that of a tensor."""
    if isinstance(x, np.ndarray):
        return x.copy()
    # Tensors of TensorFlow cannot be written to, and have no `clone`.
    return x.clone() if hasattr(x, "clone") else x
