"""A detector of adversarial examples by NIP's signals: evidence that disagrees, or δ."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from art.defences.detector.evasion import EvasionDetector
from sklearn.exceptions import NotFittedError

from art_nip.nip.preprocessor import NIPPreprocessor
from art_nip.utils.validation import (
    check_choice,
    check_classifier,
    check_shape,
    check_whole,
    is_number,
    real_numbers,
)

Scores = npt.NDArray[np.float64]

SCORES = ("evidence", "similarity")
"""The signals that an image can be scored by."""

ADVERSARIAL = 1
"""The label of adversarial images, as ART's other detectors take labels; benign ones have 0."""


class NIPDetector(EvasionDetector):  # type: ignore[misc]
    """Says which images are adversarial, by a signal of NIP; an ART `EvasionDetector`.

    "evidence" scores an image by how much the evidence of "class" retrieval, log p(c | x), prefers
    another class than the model's m: max over c ≠ m of log p(c | x), minus log p(m | x).
    "similarity" scores it by −δ [3]: how little its middle neurons are like those of benign images.
    An image is called adversarial if its score is above a threshold, which :meth:`fit` finds on
    benign images for a stated rate of false positives.

    docs/results/detection.md says what it is worth. Evidence finds most adversarial examples of
    attackers who do not know of it; who does leads the evidence too (:class:`SelectivePGD`). δ
    tells benign from adversarial images hardly better than a coin.

    :param classifier: the ART classifier that is attacked, without preprocessing defences.
    :param nip: a NIP for it, fitted on benign images; with `retrieval="class"` for "evidence".
    :param score: "evidence" or "similarity".
    :param false_positive_rate: the share of benign images that may be called adversarial, above 0
        and below 1.
    :raises TypeError: if the classifier or the NIP is none.
    :raises ValueError: if the classifier has defences or is not the NIP's, the retrieval has no
        evidence, or a parameter is not allowed.
    :raises NotFittedError: if the NIP was not fitted.
    """

    defence_params: ClassVar[list[str]] = ["false_positive_rate"]

    def __init__(
        self,
        classifier: Any,
        nip: NIPPreprocessor,
        *,
        score: str = "evidence",
        false_positive_rate: float = 0.05,
    ) -> None:
        super().__init__()
        check_classifier(classifier, "NIPDetector")
        if not isinstance(nip, NIPPreprocessor):
            raise TypeError(
                f"nip is a {type(nip).__name__}; give a fitted NIPPreprocessor of the classifier."
            )
        if classifier.preprocessing_defences:
            raise ValueError(
                "The classifier has preprocessing defences, and the detector compares the "
                "evidence with the undefended model: give the classifier without them."
            )
        check_choice("score", score, SCORES)
        if not nip.is_fitted:
            raise NotFittedError("The NIP was not fitted: call nip.fit(x_benign, y_benign) first.")
        nip.attach(classifier)  # refuses another model
        if score == "evidence" and nip.retrieval.name != "class":
            raise ValueError(
                f'Only "class" retrieval has evidence, and this NIP has {nip.retrieval!r}. Fit one '
                'with retrieval="class", or take score="similarity".'
            )
        self.classifier, self.nip, self.score = classifier, nip, score
        self.false_positive_rate = false_positive_rate
        self._benign: Scores | None = None
        self._check_params()

    def _check_params(self) -> None:
        if not is_number(self.false_positive_rate) or not 0 < self.false_positive_rate < 1:
            raise ValueError(
                f"false_positive_rate={self.false_positive_rate!r}; give a share above 0 and below "
                "1: with 0 nothing is called adversarial, with 1 everything."
            )
        if self._benign is not None:
            _threshold(self._benign, self.false_positive_rate)

    def set_params(self, **kwargs: Any) -> None:
        """Change the rate of false positives; the threshold follows from the fit of before.

        :param kwargs: `false_positive_rate`.
        :raises ValueError: if there is no such parameter, or its value is not allowed; then nothing
            changes.
        """
        before = self.get_params()
        for name in kwargs:
            check_choice("parameter", name, self.defence_params)
        try:
            super().set_params(**kwargs)
        except ValueError:
            super().set_params(**before)
            raise

    def fit(
        self,
        x: npt.ArrayLike,
        y: npt.ArrayLike | None = None,
        batch_size: int = 128,
        nb_epochs: int = 1,
        **kwargs: Any,
    ) -> None:
        """Find the threshold on benign images that neither the model nor the NIP was fitted on.

        It is the smallest score that so many of them are not above that another benign image is
        above it with a probability of at most `false_positive_rate` (the quantile of split
        conformal prediction).

        :param x: images, shape (N, *input_shape), in the classifier's range.
        :param y: None: all are benign. Or labels as ART's other detectors take them, 0 for benign
            and 1 for adversarial, shape (N,), or one-hot, shape (N, 2): adversarial images are left
            out.
        :param batch_size: how many images are scored at once.
        :param nb_epochs: anything: nothing is trained.
        :raises ValueError: if images or labels are not as above, or there are too few benign images
            for the rate.
        :raises TypeError: if images are no numbers.
        """
        if kwargs:
            raise TypeError(f"fit takes x, y, batch_size and nb_epochs, not {', '.join(kwargs)}.")
        images = self._images(x)
        if y is not None:
            images = images[_labels(y, len(images)) != ADVERSARIAL]
        benign = np.sort(self.scores(images, batch_size))
        _threshold(benign, self.false_positive_rate)
        self._benign = benign

    @property
    def threshold(self) -> float:
        """The score above which an image is called adversarial.

        :raises NotFittedError: before `fit`.
        """
        if self._benign is None:
            raise NotFittedError("This NIPDetector has no threshold yet: call fit(x_benign).")
        return _threshold(self._benign, self.false_positive_rate)

    def detect(
        self, x: npt.ArrayLike, batch_size: int = 128, **kwargs: Any
    ) -> tuple[dict[str, Any], npt.NDArray[np.bool_]]:
        """Return which images are adversarial.

        :param x: images, shape (N, *input_shape), in the classifier's range.
        :param batch_size: how many images are scored at once.
        :return: a report with `scores`, float64, shape (N,), and the `threshold`; and whether each
            image is called adversarial, bool, shape (N,).
        :raises NotFittedError: before `fit`.
        :raises ValueError: if images are not as above.
        """
        if kwargs:
            raise TypeError(f"detect takes x and batch_size, not {', '.join(kwargs)}.")
        threshold = self.threshold
        scores = self.scores(x, batch_size)
        return {"scores": scores, "threshold": threshold}, scores > threshold

    def scores(self, x: npt.ArrayLike, batch_size: int = 128) -> Scores:
        """Return each image's score, the higher the more adversarial, float64, shape (N,).

        Needs no fit of the detector.

        :param x: images, shape (N, *input_shape), in the classifier's range.
        :param batch_size: how many images are scored at once.
        """
        score = self._disagreement if self.score == "evidence" else self._unlikeness
        return _batched(score, self._images(x), batch_size)

    def score_gradient(self, x: npt.ArrayLike, batch_size: int = 128) -> npt.NDArray[np.float32]:
        """Return a gradient of each image's score, or an approximation of it, shape of x.

        It is what the evidence offers attacks, with the model's class and the evidence's
        preferred other class as constants. Its length means nothing.

        :param x: images, shape (N, *input_shape), in the classifier's range.
        :param batch_size: how many images at once.
        :raises ValueError: if the score is "similarity", which has none here.
        """
        if self.score != "evidence":
            raise ValueError(
                "δ has no gradient here: the influence that it compares is a gradient itself."
            )
        return _batched(self._disagreement_gradient, self._images(x), batch_size)

    def _images(self, x: npt.ArrayLike) -> npt.NDArray[Any]:
        images = real_numbers(x)
        check_shape(images, tuple(self.classifier.input_shape))
        return images

    def _disagreement(self, x: npt.NDArray[Any]) -> Scores:
        evidence, model, other = self._classes(x)
        rows = np.arange(len(x))
        difference: Scores = evidence[rows, other] - evidence[rows, model]
        return difference

    def _disagreement_gradient(self, x: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        _, model, other = self._classes(x)
        if not len(x):  # TensorFlow has no gradient of nothing
            return np.zeros(x.shape, np.float32)
        of = self.nip.evidence_gradient
        return of(x, other) - of(x, model)

    def _classes(self, x: npt.NDArray[Any]) -> tuple[Scores, Any, Any]:
        """Return log p(c | x), the model's class, and the class that p prefers among the others."""
        # A class that the fit has not seen has -inf, and two of these no difference.
        evidence = np.maximum(self.nip.evidence(x).astype(np.float64), np.finfo(np.float32).min)
        if not len(x):  # ART's classifiers cannot predict nothing
            return evidence, np.empty(0, np.intp), np.empty(0, np.intp)
        model = np.asarray(self.classifier.predict(np.asarray(x, np.float32))).argmax(axis=1)
        others = evidence.copy()
        others[np.arange(len(x)), model] = -np.inf
        return evidence, model, others.argmax(axis=1)

    def _unlikeness(self, x: npt.NDArray[Any]) -> Scores:
        return -self.nip.similarity(x).astype(np.float64)


def _batched(
    function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]], x: npt.NDArray[Any], size: int
) -> npt.NDArray[Any]:
    check_whole("batch_size", size, 1)
    starts = range(0, len(x), size) if len(x) else (0,)
    return np.concatenate([function(x[start : start + size]) for start in starts])


def _threshold(benign: Scores, rate: float) -> float:
    """Return the threshold of a rate of false positives.

    :param benign: scores of benign images, sorted.
    """
    n = len(benign)
    # Of n + 1 exchangeable scores, the last is above this one with a probability of at most `rate`.
    place = math.ceil((n + 1) * (1 - rate) - 1e-9)
    if place > n:
        raise ValueError(
            f"{n} benign images cannot show a rate of false positives of {rate:g}: it takes "
            f"{math.ceil(1 / rate - 1e-9) - 1} at least."
        )
    return float(benign[place - 1])


def _labels(y: npt.ArrayLike, n: int) -> npt.NDArray[Any]:
    """Return labels 0 and 1, shape (n,)."""
    labels = np.asarray(y)
    if labels.shape == (n, 2) and np.isin(labels, np.eye(2)).all():
        # Of a row that is not one-hot, the place of its 1 is no label.
        labels = np.where(labels.sum(axis=1) == 1, labels[:, 1], np.nan)
    if labels.shape != (n,) or not np.isin(labels, (0, ADVERSARIAL)).all():
        raise ValueError(
            f"y has shape {np.shape(y)}; for {n} images give 0 for benign and 1 for adversarial "
            "ones, shape (N,), or one-hot, shape (N, 2), or None if all are benign. A detector "
            "takes no classes of images."
        )
    return labels
