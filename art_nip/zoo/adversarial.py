"""The inner maximisation of adversarial training, once for both frameworks."""

from __future__ import annotations

from collections.abc import Callable

from art_nip.utils.arrays import Array, namespace


def worst(
    x: Array, start: Array, gradient: Callable[[Array], Array], eps: float, steps: int
) -> Array:
    """Return images near the given ones on which the loss is high: PGD (Madry et al., 2018).

    With one step, which then is 1.25 ε long and begins at a random start, this is the attack of
    "Fast is better than free" (Wong et al., 2020); several are 2.5 ε / steps long.

    :param x: images in [0, 1], a tensor of either framework.
    :param start: images to begin at; they are clipped to the ball and to [0, 1].
    :param gradient: function that returns the gradient of the loss in the images.
    :param eps: radius of the ball in L∞, above 0.
    :param steps: number of steps, at least 1.
    :return: images in [0, 1], no pixel farther than `eps` from `x`.
    """
    xp = namespace(x)
    low, high = xp.clip(x - eps, 0.0, 1.0), xp.clip(x + eps, 0.0, 1.0)
    size = 2.5 * eps / max(steps, 2)
    attacked = xp.clip(start, low, high)
    for _ in range(steps):
        attacked = xp.clip(attacked + size * xp.sign(gradient(attacked)), low, high)
    return attacked
