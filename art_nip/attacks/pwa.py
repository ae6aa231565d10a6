"""The pointwise attack: from an adversarial image back towards the original, value by value (PWA).

It leaves few values changed (L0), each as little as it needs (L2).
"""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from art_nip.attacks.base import Floats, Mask, Rows
from art_nip.attacks.decision import DecisionAttack, Fools, bisected
from art_nip.utils.validation import check_whole, numeric


class PointwiseAttack(DecisionAttack):
    """Pointwise attack of Schott et al., "Towards the first adversarially robust neural network
    model on MNIST" (2018), with the binary search that Foolbox adds.

    It starts from salt-and-pepper noise that grows until the classifier is fooled, sets values back
    to the original as long as the image stays adversarial, and then moves each value that is left
    towards the original as far as it can.

    `generate` takes a start of your own as `x_adv_init`, shape of x, within `clip_values`; an image
    whose start is not adversarial starts from noise.

    :param estimator: an ART classifier with `clip_values`.
    :param init_steps: how many shares of values the noise tries, from 1/init_steps to 1.
    :param group_size: how many values are set back at once at most. A group grows while the image
        stays adversarial and is halved when it does not, down to one value; 1 is the paper's one
        value at a time, with many more predictions.
    :param search_steps: how often a value's distance to the original is halved; 0 leaves the binary
        search out: the paper's attack, with the fewest values changed.
    :param max_iter: how often, at most, all values are set back and searched.
    :param repeats: how many starts are tried; the smallest perturbation in L2 is kept (in L0 where
        search_steps is 0).
    :param batch_size: how many images the classifier sees at once.
    :param seed: of noise and order; None draws from NumPy's global state.
    :param verbose: whether a progress bar counts the predictions.
    :raises ValueError: if a parameter is not allowed.
    """

    attack_params: ClassVar[list[str]] = [
        *DecisionAttack.attack_params,
        "init_steps",
        "group_size",
        "search_steps",
        "max_iter",
        "repeats",
    ]

    def __init__(
        self,
        estimator: Any,
        *,
        init_steps: int = 100,
        group_size: int = 1024,
        search_steps: int = 10,
        max_iter: int = 10,
        repeats: int = 1,
        batch_size: int = 128,
        seed: int | None = None,
        verbose: bool = True,
    ) -> None:
        super().__init__(estimator, batch_size=batch_size, seed=seed, verbose=verbose)
        self.init_steps = init_steps
        self.group_size = group_size
        self.search_steps = search_steps
        self.max_iter = max_iter
        self.repeats = repeats
        self._check_params()

    def _starts(self, images: Floats, **kwargs: Any) -> Floats | None:
        given = kwargs.pop("x_adv_init", None)
        super()._starts(images, **kwargs)
        if given is None:
            return None
        starts = numeric(given)
        if len(starts) != len(images):
            raise ValueError(
                f"x_adv_init has {len(starts)} images for {len(images)}; give one start per image."
            )
        self._check_images(starts)
        return self._unit(starts)

    def _perturbed(
        self, x: Floats, starts: Floats | None, fools: Fools, rng: np.random.Generator
    ) -> Floats:
        original = x.reshape(len(x), -1)
        best: Floats = original.copy()
        smallest = np.full(len(x), np.inf)

        def flat_fools(flat: Floats, rows: Rows) -> Mask:
            return fools(flat.reshape(-1, *x.shape[1:]), rows)

        for _ in range(self.repeats):
            adversarial = self._start(x, starts, fools, rng).reshape(original.shape)
            passes = [self._set_back, self._move_back] if self.search_steps else [self._set_back]
            for one_pass in passes:
                self._to_rest(one_pass, original, adversarial, flat_fools, rng)
            difference = adversarial - original
            sizes = np.linalg.norm(difference, 2 if self.search_steps else 0, axis=1)
            smaller = (sizes > 0) & (sizes < smallest)
            best[smaller], smallest[smaller] = adversarial[smaller], sizes[smaller]
        return best.reshape(x.shape)

    def _start(
        self, x: Floats, starts: Floats | None, fools: Fools, rng: np.random.Generator
    ) -> Floats:
        """Return adversarial images, and the images themselves where noise does not fool."""
        found: Floats = x.copy()
        remaining = np.arange(len(x))
        if starts is not None:
            fooled = fools(starts, remaining)
            found[fooled], remaining = starts[fooled], remaining[~fooled]
        for step in range(1, self.init_steps + 1):
            if not len(remaining):
                break
            noisy = self._salt_and_pepper(x[remaining], step / self.init_steps, rng)
            fooled = fools(noisy, remaining)
            found[remaining[fooled]], remaining = noisy[fooled], remaining[~fooled]
        return found

    def _salt_and_pepper(self, x: Floats, share: float, rng: np.random.Generator) -> Floats:
        shape = list(x.shape)
        channels_first = getattr(self.estimator, "channels_first", None)
        if x.ndim == 4 and channels_first is not None:
            shape[1 if channels_first else 3] = 1  # the channels of a pixel are hit together
        drawn = rng.random(shape, np.float32)
        noisy: Floats = np.where(
            drawn < share / 2, 0, np.where(drawn >= 1 - share / 2, 1, x)
        ).astype(np.float32)
        return noisy

    def _to_rest(
        self,
        one_pass: Callable[..., None],
        original: Floats,
        adversarial: Floats,
        fools: Fools,
        rng: np.random.Generator,
    ) -> None:
        """Repeat a pass over all values that differ for as long as it changes the image."""
        rows = np.flatnonzero((adversarial != original).any(axis=1))
        for _ in range(self.max_iter):
            if not len(rows):
                break
            before = adversarial[rows]
            # Each image has its own order: the rank at which a value has its turn.
            differs = before != original[rows]
            drawn = np.where(differs, rng.random(differs.shape, np.float32), 2)
            order = drawn.argsort(axis=1)
            one_pass(original, adversarial, rows, order, differs.sum(axis=1), fools)
            rows = rows[(adversarial[rows] != before).any(axis=1)]

    def _set_back(
        self,
        original: Floats,
        adversarial: Floats,
        rows: Rows,
        order: Rows,
        counts: Rows,
        fools: Fools,
    ) -> None:
        """Set values back to the original, in groups, where the image stays adversarial."""
        rank = order.argsort(axis=1).astype(np.int32)
        position, size = np.zeros_like(counts), np.ones_like(counts)
        while len(active := np.flatnonzero(position < counts)):
            first, last = position[active, None], (position + size)[active, None]
            group = (rank[active] >= first) & (rank[active] < last)
            images = rows[active]
            trial = np.where(group, original[images], adversarial[images])
            fooled = fools(trial, images)
            adversarial[images[fooled]] = trial[fooled]
            passed = fooled | (size[active] == 1)
            position[active] += np.where(passed, size[active], 0)
            size[active] = np.where(
                fooled,
                np.minimum(2 * size[active], self.group_size),
                np.maximum(size[active] // 2, 1),
            )

    def _move_back(
        self,
        original: Floats,
        adversarial: Floats,
        rows: Rows,
        order: Rows,
        counts: Rows,
        fools: Fools,
    ) -> None:
        """Move values, one after the other, as far to the original as the image stays adversarial.

        The smallest step comes first: most values cannot move at all, and cost one prediction so.
        """
        for turn in range(counts.max()):
            images, places = rows[counts > turn], order[counts > turn, turn]
            # What can move at all can move two steps: it ends one short of the edge.
            least = np.full(len(images), 2 * 0.5**self.search_steps, np.float32)
            movable = fools(_moved(original, adversarial, images, places, least), images)
            images, places = images[movable], places[movable]

            share = np.ones(len(images), np.float32)
            part = ~fools(_moved(original, adversarial, images, places, share), images)

            def works(
                share: Floats, images: Rows = images[part], places: Rows = places[part]
            ) -> Mask:
                return fools(_moved(original, adversarial, images, places, share), images)

            share[part] = bisected(works, 0 * share[part], share[part], self.search_steps)
            adversarial[images] = _moved(original, adversarial, images, places, share)

    def _check_params(self) -> None:
        super()._check_params()
        for name in ("init_steps", "group_size", "max_iter", "repeats"):
            check_whole(name, getattr(self, name), least=1)
        check_whole("search_steps", self.search_steps, least=0)


def _moved(
    original: Floats, adversarial: Floats, images: Rows, places: Rows, share: Floats
) -> Floats:
    """Return some of the adversarial images, one value of each moved a share of its way back."""
    there, here = original[images, places], adversarial[images, places]
    between = np.clip(
        share * there + (1 - share) * here, np.minimum(there, here), np.maximum(there, here)
    )
    moved = adversarial[images]
    moved[np.arange(len(images)), places] = between
    return moved
