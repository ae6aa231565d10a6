"""PGD for classifiers whose defences are random or hide their gradient: EOT and BPDA."""

from __future__ import annotations

from typing import Any

import numpy as np
from art.attacks import evasion

from art_nip.attacks.gradient_estimators import (
    averaged,
    of_one_scale,
    straight_through,
    with_auxiliary,
)
from art_nip.attacks.parameters import is_linf
from art_nip.utils.validation import check_number, check_whole
from art_nip.zoo.suppression import suppressing_layers


class ProjectedGradientDescent(evasion.ProjectedGradientDescent):  # type: ignore[misc]
    """PGD of Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018),
    through defences, exactly or as if they were not there.

    :param draws: over how many draws gradients are averaged (EOT; Athalye et al. 2018) where they
        are random.
    :param straight: whether defences count as the identity on the way back (BPDA; Athalye et al.
        2018).
    :param auxiliary: weight of the loss of auxiliary logits, of models with channel-wise activation
        suppressing (Bai et al. 2021); 0 leaves it out.
    """

    made_as_art_does = True
    attack_params = [  # noqa: RUF012 - as ART has it
        *evasion.ProjectedGradientDescent.attack_params,
        *("draws", "straight", "auxiliary"),
    ]

    def __init__(
        self,
        estimator: Any,
        norm: float | str = np.inf,
        eps: float = 0.3,
        eps_step: float = 0.1,
        max_iter: int = 100,
        num_random_init: int = 0,
        batch_size: int = 32,
        draws: int = 8,
        straight: bool = False,
        auxiliary: float = 0.0,
        verbose: bool = True,
    ) -> None:
        check_whole("draws", draws, least=1)
        check_number("auxiliary", auxiliary, 0)
        target = straight_through(estimator) if straight else estimator
        suits = not auxiliary or bool(suppressing_layers(getattr(estimator, "model", None)))
        if auxiliary and suits:
            target = with_auxiliary(target, auxiliary)
        target = averaged(target, draws)
        super().__init__(
            target if is_linf(norm) else of_one_scale(target),
            norm=norm,
            eps=eps,
            eps_step=eps_step,
            max_iter=max_iter,
            num_random_init=num_random_init,
            batch_size=batch_size,
            verbose=verbose,
        )
        self.draws, self.straight, self.auxiliary = draws, straight, auxiliary
        if not suits:  # said after what there is to say of the parameters
            with_auxiliary(estimator, auxiliary)
