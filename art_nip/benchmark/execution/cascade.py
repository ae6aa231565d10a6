"""Attacks in turn, each on the images that those before have left.

The worst case is what all of them leave, so an image that is wrong already need not meet the
others. AutoAttack does the same (Croce and Hein, "Reliable evaluation of adversarial robustness
with an ensemble of diverse parameter-free attacks", 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from art_nip.attacks.foreign.autoattack import AutoAttack
from art_nip.benchmark.execution.images import Images, Labels
from art_nip.benchmark.execution.protection import generated
from art_nip.benchmark.plan.suite import within
from art_nip.metrics import predicted_classes

NOBODY, UNATTACKED = -1, -2
"""Stand for no attack, of an image that none has broken, and of one that was wrong without any."""


class Cascade:
    """The attacks of a cascade, ready to be run.

    :param attacks: names, and functions that return an attack on the classifier, in turn.
    :param predict: returns the classifier's scores of images, shape (N, nb_classes).
    :param sizes: returns the sizes of perturbations, of images in [0, 1] and in the norm of the
        budget, from images and their adversarial examples.
    :param eps: the budget.
    :param say: takes a line about what is left.
    """

    def __init__(
        self,
        attacks: Sequence[tuple[str, Callable[[], Any]]],
        predict: Callable[[Images], Any],
        sizes: Callable[[Images, Images], Any],
        eps: float,
        say: Callable[[str], None],
    ) -> None:
        self._attacks, self._predict, self._sizes = attacks, predict, sizes
        self._eps, self._say = eps, say
        self.flags: list[str] = []
        self.broken_by = np.empty(0, np.int64)

    def generate(self, x: Images, y: Labels) -> Images:
        """Return the first example of each image that is wrong within the budget, else the image.

        `broken_by` then says which attack it is of, by its place, or `NOBODY`; images that are
        wrong unattacked meet none, and are of `UNATTACKED`.

        :param x: images, shape (N, *input_shape).
        :param y: their true classes, shape (N,).
        """
        found: Images = x.copy()
        right = self._right(x, y)
        self.broken_by = np.where(right, NOBODY, UNATTACKED)
        left = np.flatnonzero(right)
        for place, (name, make) in enumerate(self._attacks):
            if not len(left):
                break
            images, classes = x[left], y[left]
            try:
                attack = make()
                examples = generated(attack, images, classes)
            except Exception as error:
                raise RuntimeError(
                    f"The attack {name!r} of the cascade failed ({type(error).__name__}: {error}). "
                    "Without cascade=True, the others of the suite run nevertheless."
                ) from error
            if isinstance(attack, AutoAttack):
                self.flags += attack.flags
            inside = within(np.asarray(self._sizes(images, examples)), self._eps)
            broken = inside & ~self._right(examples, classes)
            found[left[broken]] = examples[broken]
            self.broken_by[left[broken]] = place
            left = left[~broken]
            self._say(f"{len(left)} of {len(x)} images left after {name}")
        return found

    def _right(self, x: Images, y: Labels) -> Any:
        return predicted_classes(np.asarray(self._predict(x))) == y
