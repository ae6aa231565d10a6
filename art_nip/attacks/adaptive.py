"""ART's attacks by gradient for a classifier whose defences may be random or hide their gradient.

Each is the attack of ART but for what its docstring names.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from art.attacks import evasion

from art_nip.attacks.gradient_estimators import averaged, straight_through, with_auxiliary
from art_nip.estimators.single_precision import single_precision
from art_nip.utils.validation import class_indices

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

DRAWS = 8


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
        draws: int = DRAWS,
        straight: bool = False,
        auxiliary: float = 0.0,
        verbose: bool = True,
    ) -> None:
        target = straight_through(estimator) if straight else estimator
        if auxiliary:
            target = with_auxiliary(target, auxiliary)
        super().__init__(
            averaged(target, draws),
            norm=norm,
            eps=eps,
            eps_step=eps_step,
            max_iter=max_iter,
            num_random_init=num_random_init,
            batch_size=batch_size,
            verbose=verbose,
        )
        self.draws, self.straight, self.auxiliary = draws, straight, auxiliary


class AutoProjectedGradientDescent(evasion.AutoProjectedGradientDescent):  # type: ignore[misc]
    """APGD of Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
    diverse parameter-free attacks" (2020).

    ART's gives the model float64, and knows one target.

    :param targets: 0 leads away from the true class; k towards each of the k others with the
        highest scores, one after the other, until one is reached.
    :param draws: over how many draws gradients are averaged where they are random.
    """

    made_as_art_does = True
    attack_params = [  # noqa: RUF012 - as ART has it
        *evasion.AutoProjectedGradientDescent.attack_params,
        *("targets", "draws"),
    ]

    def __init__(
        self,
        estimator: Any,
        norm: float | str = np.inf,
        eps: float = 0.3,
        eps_step: float = 0.1,
        max_iter: int = 100,
        nb_random_init: int = 5,
        batch_size: int = 32,
        loss_type: str | None = None,
        targets: int = 0,
        draws: int = DRAWS,
        verbose: bool = True,
    ) -> None:
        super().__init__(
            estimator,
            norm=norm,
            eps=eps,
            eps_step=eps_step,
            max_iter=max_iter,
            targeted=targets > 0,
            nb_random_init=nb_random_init,
            batch_size=batch_size,
            loss_type=loss_type,
            verbose=verbose,
        )
        self.targets, self.draws = targets, draws
        # Made by ART from the estimator, to have another loss.
        self._estimator = averaged(single_precision(self.estimator), draws)

    def generate(self, x: Array, y: Array | None = None, **kwargs: Any) -> Floats:
        """Return adversarial examples; `y` are true classes, None the predicted ones."""
        if not self.targets:
            adversarial: Floats = super().generate(x, y, **kwargs)
            return adversarial
        scores = self.estimator.predict(x, batch_size=self.batch_size)
        labels = (
            scores.argmax(axis=1)
            if y is None
            else class_indices(y, len(x), self.estimator.nb_classes)
        )
        left = np.flatnonzero(scores.argmax(axis=1) == labels)
        scores[np.arange(len(x)), labels] = -np.inf
        ranked = np.argsort(-scores, axis=1)
        results: Floats = np.array(x, np.float32)
        for rank in range(min(self.targets, self.estimator.nb_classes - 1)):
            if not len(left):
                break
            found = super().generate(x[left], ranked[left, rank], **kwargs)
            reached = self.estimator.predict(found, batch_size=self.batch_size).argmax(axis=1)
            fooled = reached != labels[left]
            results[left[fooled]] = found[fooled]
            left = left[~fooled]
        return results
