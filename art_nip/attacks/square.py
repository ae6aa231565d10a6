"""Square of ART, without asking the classifier again about images that it has answered for."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np
from art.attacks import evasion

from art_nip.attacks.base import Array, Floats
from art_nip.attacks.gradient_estimators import differ
from art_nip.attacks.parameters import is_linf
from art_nip.estimators.clones import clone, clone_with

REMEMBERED = 4
"""How many images are remembered, as a multiple of those that are attacked."""

TRUSTED = 25
"""After how many predictions with remembered images these are asked about again."""


class SquareAttack(evasion.SquareAttack):  # type: ignore[misc]
    """Square of Andriushchenko et al., "Square attack: a query-efficient black-box attack via
    random search" (2020).

    For each query, ART's predicts all images, and those that are still right twice, though at most
    the latter have changed. Here what a classifier answered for an image stands for what it would
    answer again, but with random defences, which are asked as often as ART asks.
    """

    made_as_art_does = True
    _estimator: Any

    def generate(self, x: Array, y: Array | None = None, **kwargs: Any) -> Floats:
        """Return adversarial examples; `y` are true classes, None the predicted ones.

        :raises ValueError: if images have a side of less than 2 pixels, in L2 of less than 10.
        """
        self._refuse_small_images()
        remembering = clone(clone_with(_Remembering, self.estimator))
        turn = self._turn()
        vars(remembering).update(_answers=_Answers(REMEMBERED * len(x)), _turn=turn)
        # Of a copy, so that threads may share an attack.
        attack = copy.copy(self)
        attack._estimator = remembering
        if isinstance(self.loss, MethodType) and self.loss.__self__ is self:
            attack.loss = MethodType(self.loss.__func__, attack)
        adversarial: Floats = super(SquareAttack, attack).generate(turn(x), y, **kwargs)
        return turn(adversarial)

    def _refuse_small_images(self) -> None:
        """Raise ValueError where no square can move, or a fifth of the side has not two pixels."""
        height, width = self._sides()
        smallest, norm = (2, "L∞") if is_linf(self.norm) else (10, "L2")
        if min(height, width) < smallest:
            raise ValueError(
                f"The square attack needs images of at least {smallest}×{smallest} pixels in "
                f"{norm}, and these have {height}×{width}: take another attack without gradients, "
                "such as hopskipjump."
            )

    def _turn(self) -> Callable[[Array], Array]:
        """Return what exchanges height and width of images, or leaves them, to fit ART's tiles."""
        height, width = self._sides()
        if is_linf(self.norm) or height <= width:
            return lambda images: images
        axes = (2, 3) if self.estimator.channels_first else (1, 2)
        return lambda images: np.swapaxes(images, *axes)

    def _sides(self) -> tuple[int, int]:
        """Return height and width of the images in pixels."""
        shape = self.estimator.input_shape
        height, width = shape[1:] if self.estimator.channels_first else shape[:2]
        return height, width

    def _get_percentage_of_elements(self, i_iter: int) -> float:
        """Return the share of the image that a square has; ART's do not fit into oblong images."""
        height, width = self._sides()
        side = min(height, width) - 1
        if not is_linf(self.norm) and side % 2 == 0:
            side -= 1  # ART makes the side odd in L2
        share = super()._get_percentage_of_elements(i_iter)
        return float(min(share, side**2 / (height * width)))


class _Remembering:
    """What makes a class of ART classifiers one that remembers its predictions."""

    def predict(self, x: Array, *arguments: Any, **keywords: Any) -> Array:
        predict = super().predict  # type: ignore[misc]
        state: Any = self
        answers: _Answers = state._answers
        return answers.of(
            x, lambda images: np.asarray(predict(state._turn(images), *arguments, **keywords))
        )


class _Answers:
    """The scores of the images that were predicted last.

    :param size: how many are kept.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._scores: dict[bytes, Array] = {}
        self._uses = 0
        self._is_random = False

    def of(self, x: Array, predict: Callable[[Array], Array]) -> Array:
        """Return the scores of images, of those that are not remembered by `predict`."""
        if self._is_random:
            return predict(x)
        keys = [_key(image) for image in x]
        known = np.array([key in self._scores for key in keys], np.bool_)
        before = [self._scores[key] for key in keys if key in self._scores]
        if before:
            self._uses += 1
        if not before or self._uses % TRUSTED == 1:
            scores = predict(x)
            self._is_random = bool(before) and differ(np.array(before), scores[known])
        else:
            scores = np.empty((len(x), len(before[0])), before[0].dtype)
            scores[known] = before
            if not known.all():
                scores[~known] = predict(x[~known])
        self._keep(keys, scores)
        return scores

    def _keep(self, keys: list[bytes], scores: Array) -> None:
        for key, of_image in zip(keys, scores, strict=True):
            self._scores.pop(key, None)  # so that those used last come last
            self._scores[key] = of_image
        for key in list(self._scores)[: -self._size]:
            del self._scores[key]


def _key(image: Array) -> bytes:
    """Return a digest of an image: large images themselves would fill the memory."""
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16).digest()
