"""AutoAttack in ART's choice of attacks, of the attacks that are mended here."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.attacks import evasion

from art_nip.attacks.apgd import LEAST_CLASSES_OF_DLR, AutoProjectedGradientDescent
from art_nip.attacks.deepfool import DeepFool


class ARTAutoAttack(evasion.AutoAttack):  # type: ignore[misc]
    """AutoAttack of Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble
    of diverse parameter-free attacks" (2020), in ART's choice: APGD on cross-entropy and on the
    difference of logits ratio (left out where there are two classes), DeepFool (its authors take
    FAB) and Square, each on the images that resisted those before it.

    ART's shows progress bars, has its own DeepFool and APGD, and none of the parameters:

    :param max_iter: steps of APGD and DeepFool.
    :param nb_restarts: of APGD and Square.
    :param max_queries: steps of Square.
    """

    def __init__(
        self,
        estimator: Any,
        norm: float | str = np.inf,
        eps: float = 0.3,
        eps_step: float = 0.1,
        max_iter: int = 100,
        nb_restarts: int = 5,
        max_queries: int = 5000,
        batch_size: int = 32,
        verbose: bool = True,
    ) -> None:
        common: dict[str, Any] = {
            "norm": norm,
            "eps": eps,
            "batch_size": batch_size,
            "verbose": verbose,
        }
        compares = estimator.nb_classes >= LEAST_CLASSES_OF_DLR
        losses = ("cross_entropy", *(("difference_logits_ratio",) if compares else ()))
        gradual = [
            AutoProjectedGradientDescent(
                estimator,
                eps_step=eps_step,
                max_iter=max_iter,
                nb_random_init=nb_restarts,
                loss_type=loss,
                **common,
            )
            for loss in losses
        ]
        others = [
            DeepFool(estimator, max_iter, 1e-3, batch_size=batch_size, verbose=verbose),
            evasion.SquareAttack(
                estimator, max_iter=max_queries, nb_restarts=nb_restarts, **common
            ),
        ]
        super().__init__(estimator, norm, eps, eps_step, gradual + others, batch_size)
