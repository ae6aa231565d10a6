"""Attacks by the paper's names, with parameters that come near the sizes of its table II.

Each is an ART attack that takes true labels, in either framework, against any defended classifier.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from art_nip.estimators.single_precision import single_precision
from art_nip.utils.validation import clip_range, nearest_name

SHARES = ("eps", "eps_step", "theta")
"""Parameters that are sizes in the images' unit; here they are shares of the clip range."""

FIXED = {"verbose": False, "targeted": False}
"""What no attack here leaves open: labels are true classes, and bars are the benchmark's."""


@dataclass(frozen=True)
class NamedAttack:
    """An attack and what it stands for here.

    :param name: that of the paper's tables, in lower case.
    :param path: its class, imported on first use.
    :param defaults: parameters that differ from those of the class; as JSON can hold them.
    :param limit: on how many images it is run unless more are asked for; None for all.
    :param per_image: whether images are attacked one by one, so that one tells how long all take.
    """

    name: str
    path: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    per_image: bool = True

    def check_parameters(self, parameters: Iterable[str]) -> None:
        """Raise a ValueError if the attack has no parameter of such a name."""
        allowed = sorted(self._signature() - {"self", "estimator", "classifier", *FIXED})
        for name in parameters:
            if name not in allowed:
                raise ValueError(
                    f"The attack {self.name!r} has no parameter {name!r}. The nearest is "
                    f"{nearest_name(name, allowed)!r}; all: {', '.join(allowed)}."
                )

    def resolved(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults with some parameters in their place.

        Sizes that are not given follow "eps": with the steps of a smaller one, attacks would not
        reach it.

        :raises ValueError: if there is no parameter of such a name.
        """
        self.check_parameters(parameters)
        given = "eps" in parameters and "eps" in self.defaults
        ratio = parameters["eps"] / self.defaults["eps"] if given else 1
        return {**_scaled(self.defaults, ratio), **parameters}

    def create(self, estimator: Any, **parameters: Any) -> Any:
        """Return the ART attack on a classifier; its `generate(x, y)` takes true labels.

        :param estimator: an ART classifier with `clip_values`, defended or not; it stays as it is.
        :param parameters: as of the class, in place of `defaults`; "eps", "eps_step" and "theta"
            are shares of the clip range.
        :return: an `art.attacks.EvasionAttack` without progress bars.
        :raises ValueError: if there is no parameter of such a name, or the estimator has no
            `clip_values`; ART's own errors if it refuses a value.
        """
        resolved = self.resolved(parameters)
        if estimator.clip_values is None:
            raise ValueError(
                "The estimator has no clip_values, and the sizes of attacks are shares of them: "
                "give it clip_values=(min, max), the range of the images."
            )
        low, high = clip_range(estimator.clip_values)
        fixed = {name: value for name, value in FIXED.items() if name in self._signature()}
        scaled = _scaled(resolved, high - low)
        return self._class()(single_precision(estimator), **scaled, **fixed)

    def _class(self) -> Any:
        module, _, name = self.path.rpartition(".")
        return getattr(import_module(module), name)

    def _signature(self) -> set[str]:
        return set(inspect.signature(self._class().__init__).parameters)


def _scaled(parameters: Mapping[str, Any], factor: float) -> dict[str, Any]:
    return {
        name: _scaled(value, factor)
        if isinstance(value, Mapping)
        else value * factor
        if name in SHARES
        else value
        for name, value in parameters.items()
    }


# Where an attack asks for gradients of one class per image, ART runs the whole batch backwards for
# each class in it: small batches are faster then.
_ART = "art.attacks.evasion"
_OURS = "art_nip.attacks"
_EPS = {"eps": 8 / 255, "batch_size": 128}
_STEPS = {**_EPS, "eps_step": 2 / 255, "max_iter": 10}
_THROUGH = {**_EPS, "eps_step": 1 / 255, "max_iter": 40, "num_random_init": 1}

_ATTACKS = {
    attack.name: attack
    for attack in (
        # Goodfellow et al., "Explaining and harnessing adversarial examples" (2015)
        NamedAttack("fgsm", f"{_ART}.FastGradientMethod", _EPS),
        # Kurakin et al., "Adversarial examples in the physical world" (2017)
        NamedAttack("bim", f"{_ART}.BasicIterativeMethod", _STEPS),
        # Dong et al., "Boosting adversarial attacks with momentum" (2018); ART's class of that name
        # is disabled on TensorFlow (its issue 2439), and this is what it was.
        NamedAttack(
            "mifgsm",
            f"{_ART}.projected_gradient_descent.projected_gradient_descent_numpy"
            ".ProjectedGradientDescentNumpy",
            {**_STEPS, "decay": 1.0},
        ),
        NamedAttack(
            "jsma",
            f"{_OURS}.mended.SaliencyMapMethod",
            {"theta": 0.3, "gamma": 0.1, "batch_size": 4},
            limit=200,
        ),
        # Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018)
        NamedAttack("pgd", f"{_ART}.ProjectedGradientDescent", {**_STEPS, "num_random_init": 1}),
        NamedAttack(
            "deepfool",
            f"{_OURS}.mended.DeepFool",
            {"max_iter": 50, "epsilon": 0.02, "nb_grads": 10, "batch_size": 128},
            limit=200,
        ),
        NamedAttack(
            "uap",
            f"{_OURS}.mended.UniversalPerturbation",
            {
                "attacker": "fgsm",
                "attacker_params": {"eps": 0.1},
                "eps": 0.4,
                "max_iter": 5,
                "delta": 0.01,
                "batch_size": 128,
            },
            per_image=False,
        ),
        NamedAttack(
            "auna",
            f"{_OURS}.AdditiveUniformNoise",
            {"steps": 10, "search_steps": 0, "repeats": 1, "batch_size": 128},
        ),
        NamedAttack(
            "pwa",
            f"{_OURS}.PointwiseAttack",
            {"init_steps": 10, "search_steps": 0, "max_iter": 1, "batch_size": 128},
            limit=200,
        ),
        NamedAttack("pixel", f"{_OURS}.mended.PixelAttack", {"th": 300, "max_iter": 5}, limit=50),
        NamedAttack(
            "boundary",
            f"{_OURS}.mended.BoundaryAttack",
            {"max_iter": 200, "sample_size": 10, "delta": 0.1, "epsilon": 0.1, "batch_size": 128},
            limit=50,
        ),
        NamedAttack(
            "autoattack",
            f"{_OURS}.mended.AutoAttack",
            # Its authors' first step is 2 ε, and they start once.
            {**_EPS, "eps_step": 16 / 255, "nb_restarts": 1},
            limit=50,
        ),
        # Andriushchenko et al., "Square attack: a query-efficient black-box attack" (2020)
        NamedAttack("square", f"{_ART}.SquareAttack", {**_EPS, "max_iter": 500}, limit=50),
        # Carlini and Wagner, "Towards evaluating the robustness of neural networks" (2017)
        NamedAttack(
            "cw",
            f"{_ART}.CarliniL2Method",
            {
                "initial_const": 10.0,
                "binary_search_steps": 8,
                "max_iter": 10,
                "batch_size": 4,
            },
            limit=50,
        ),
        NamedAttack(
            "hopskipjump",
            f"{_OURS}.mended.HopSkipJump",
            {"max_iter": 10, "max_eval": 1000, "batch_size": 128},
            limit=50,
        ),
        # What follows is made to go through defences: see `art_nip.benchmark.suite`.
        NamedAttack("eot", f"{_OURS}.adaptive.ProjectedGradientDescent", _THROUGH),
        NamedAttack(
            "bpda",
            f"{_OURS}.adaptive.ProjectedGradientDescent",
            {**_THROUGH, "straight": True},
        ),
        NamedAttack(
            "apgd",
            f"{_OURS}.adaptive.AutoProjectedGradientDescent",
            {
                **_EPS,
                "eps_step": 16 / 255,
                "max_iter": 50,
                "nb_random_init": 1,
                "loss_type": "cross_entropy",
            },
        ),
        NamedAttack("noise", f"{_OURS}.random_noise.RandomNoise", {**_EPS, "draws": 50}),
        # For classifiers that NIP is attached to, and no others.
        NamedAttack(
            "steering",
            f"{_OURS}.nip_steering.SteeringAttack",
            {**_EPS, "eps_step": 1 / 255, "max_iter": 40},
        ),
    )
}

NAMES: tuple[str, ...] = tuple(_ATTACKS)
"""All names that there are."""

PAPER: tuple[str, ...] = NAMES[:11]
"""The paper's eleven, in the order of its table II."""


def get(name: str) -> NamedAttack:
    """Return an attack by its name.

    :raises ValueError: if there is none of that name; the message has the nearest, and all.
    """
    if name not in _ATTACKS:
        raise ValueError(
            f"There is no attack {name!r}. The nearest is {nearest_name(name, NAMES)!r}; all: "
            f"{', '.join(NAMES)}."
        )
    return _ATTACKS[name]
