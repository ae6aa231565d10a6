"""What tests of the method do again and again."""

from typing import Any

import numpy as np

from art_nip import NIPPreprocessor


def fitted(
    classifier: Any, x: np.ndarray, y: np.ndarray | None = None, retrieval: Any = "similarity",
    **parameters: Any,
) -> NIPPreprocessor:  # fmt: skip
    """Return a NIP that is fitted on images."""
    nip = NIPPreprocessor.for_estimator(
        classifier, verbose=False, retrieval=retrieval, **parameters
    )
    nip.fit(x, y)
    return nip


def predictions(classifier: Any, x: np.ndarray) -> np.ndarray:
    """Return the classes that a classifier predicts."""
    return classifier.predict(x).argmax(1)


def verdicts(classifier: Any, nip: NIPPreprocessor, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes that the undefended classifier predicts, and those of the evidence."""
    return predictions(classifier, x), nip.evidence(x).argmax(1)
