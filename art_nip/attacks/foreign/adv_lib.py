"""Attacks of adv-lib (Rony and Ben Ayed, "Adversarial Library", 2020)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from art_nip.attacks.foreign.base import ForeignAttack, Tensor, check_eps

SIZES = ("eps", "ε")
"""What adv-lib's functions call the size of the perturbation."""

HANDED = ("model", "inputs", "labels", "targeted")
"""What they are given here, or not at all."""


class AdvLib(ForeignAttack):
    """An attack of adv-lib, on PyTorch.

    :param estimator: an ART `PyTorchClassifier` with `clip_values`, defended or not.
    :param function: of `adv_lib.attacks`: `pgd_linf`, `apgd`, `ddn`, `fmn`, ….
    :param eps: the largest perturbation, a share of the clip range, for functions that take it
        (adv-lib writes `eps` or `ε`). None for those that minimise it.
    :param batch_size: how many images are attacked at once.
    :param straight_through: whether it may go through defences that are written for NumPy.
    :param parameters: others of the function, but `targeted`.
    :raises TypeError: if the function is none of such an attack.
    :raises ValueError: if a parameter is not allowed, `eps` is needed or too many, or there are no
        `clip_values`.
    """

    attack_params: ClassVar[list[str]] = [*ForeignAttack.attack_params, "function", "parameters"]
    library = "adv-lib"
    distribution = "adv-lib"

    def __init__(
        self,
        estimator: Any,
        function: Callable[..., Any],
        eps: float | None = None,
        *,
        batch_size: int = 128,
        straight_through: bool = False,
        **parameters: Any,
    ) -> None:
        super().__init__(estimator, batch_size=batch_size, straight_through=straight_through)
        self.function = function
        self.eps = eps
        self.parameters = parameters
        self._check_params()

    def _attacked(self, module: Any, images: Tensor, labels: Tensor) -> Tensor:
        size = self._size_name()
        sizes = {} if size is None else {size: self.eps}
        return self.function(module, images, labels, **sizes, **self.parameters)

    def _size_name(self) -> str | None:
        taken = inspect.signature(self.function).parameters
        return next((name for name in SIZES if name in taken), None)

    def _check_params(self) -> None:
        super()._check_params()
        name = getattr(self.function, "__name__", repr(self.function))
        taken = inspect.signature(self.function).parameters if callable(self.function) else {}
        if list(taken)[:3] != list(HANDED[:3]):
            raise TypeError(
                f"{name} is no attack of adv-lib: give a function of adv_lib.attacks, which takes "
                "model, inputs and labels."
            )
        for given in self.parameters:
            allowed = [other for other in taken if other not in (*HANDED, *SIZES)]
            if given not in allowed:
                raise ValueError(f"{name} takes no {given!r} here; it takes {', '.join(allowed)}.")
        if self.eps is not None:
            check_eps(self.eps)
        size = self._size_name()
        if size is None and self.eps is not None:
            raise ValueError(f"{name} looks for the smallest perturbation, and takes no eps.")
        if size is not None and self.eps is None:
            raise ValueError(f"{name} needs eps, the size of the perturbation in images of [0, 1].")
