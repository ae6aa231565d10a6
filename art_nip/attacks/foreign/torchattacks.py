"""Attacks of torchattacks (Kim, "Torchattacks: A PyTorch repository for adversarial attacks",
2020).
"""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from art_nip.attacks.foreign.base import ForeignAttack, Tensor


class TorchAttacks(ForeignAttack):
    """An attack of torchattacks, on PyTorch.

    :param estimator: an ART `PyTorchClassifier` with `clip_values`, defended or not.
    :param kind: the class of the attack, `torchattacks.PGD`, and not one made of it: it is made for
        the classifier, and anew for each that the benchmark has.
    :param batch_size: how many images are attacked at once.
    :param straight_through: whether it may go through defences that are written for NumPy.
    :param parameters: of the class, as `eps=8 / 255, steps=10`; sizes are shares of the clip range.
    :raises TypeError: if `kind` is no class of an attack.
    :raises ValueError: if a parameter is not allowed, or there are no `clip_values`.
    """

    attack_params: ClassVar[list[str]] = [*ForeignAttack.attack_params, "kind", "parameters"]
    library = "torchattacks"
    distribution = "torchattacks"

    def __init__(
        self,
        estimator: Any,
        kind: type,
        *,
        batch_size: int = 128,
        straight_through: bool = False,
        **parameters: Any,
    ) -> None:
        super().__init__(estimator, batch_size=batch_size, straight_through=straight_through)
        self.kind = kind
        self.parameters = parameters
        self._check_params()
        self.eps = self.parameters.get("eps", self._defaults().get("eps"))

    def _attacked(self, module: Any, images: Tensor, labels: Tensor) -> Tensor:
        return self.kind(module, **self.parameters)(images, labels)

    def _defaults(self) -> dict[str, Any]:
        """Return the parameters of the class, but for `self` and the model."""
        signature = inspect.signature(self.kind.__init__)  # type: ignore[misc]
        taken = list(signature.parameters.values())[2:]
        return {parameter.name: parameter.default for parameter in taken}

    def _check_params(self) -> None:
        super()._check_params()
        if not isinstance(self.kind, type) or not hasattr(self.kind, "set_mode_default"):
            raise TypeError(
                f"kind={self.kind!r} is no class of torchattacks: give one, as torchattacks.PGD, "
                "and its parameters beside it."
            )
        allowed = self._defaults()
        for name in self.parameters:
            if name not in allowed:
                raise ValueError(
                    f"{self.kind.__name__} has no parameter {name!r}; it has {', '.join(allowed)}."
                )
