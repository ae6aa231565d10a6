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


def fitted_on(
    classifier: Any,
    bank: tuple[np.ndarray, np.ndarray],
    retrieval: Any = "class",
    **parameters: Any,
) -> NIPPreprocessor:
    """Return a NIP that is fitted on images and their labels, with class evidence by default."""
    return fitted(classifier, *bank, retrieval, **parameters)


def verdicts(nip: NIPPreprocessor, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes that the model says of images, and those that the evidence says."""
    logits, _ = nip._adapter.logits_and_activations(nip._adapter.tensor(x), ())
    return nip._adapter.numpy(logits).argmax(1), nip.evidence(x).argmax(1)
