"""Attacks by name, with parameters that come near the sizes of the paper's table II.

Each is an ART attack that takes true labels, in either framework (`autoattack` in PyTorch only),
against any defended classifier.
A new attack is a file of this package and a line below.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

from art_nip.attacks.parameters import (
    SIZES,
    UnsuitableClassifierError,
    check_kind,
    check_sizes,
    check_starts,
    is_length,
    number_of,
    scaled,
)
from art_nip.utils.frameworks import code_of, installed_framework
from art_nip.utils.validation import check_classifier, check_flag, nearest_name, plain

MINIMAL = "minimal"
"""The parameter, of all attacks with an ε, that asks for the smallest for each image."""

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
    :param paper: whether it is one of the paper's eleven.
    """

    name: str
    path: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    per_image: bool = True
    paper: bool = False

    def check_parameters(self, parameters: Mapping[str, Any] | Iterable[str]) -> None:
        """Raise a ValueError unless the attack has parameters of such names and takes their values.

        The values are those of a mapping; the attack's own constructor checks them too, on a small
        classifier of whichever framework is installed.

        :param parameters: by name, or names alone.
        """
        self._check_names(parameters)
        if isinstance(parameters, Mapping):
            resolved = self._resolved(parameters)
            # What does not suit this classifier may well suit the one to attack.
            with suppress(UnsuitableClassifierError), self._errors():
                self._make(_small_classifier(), resolved)

    def resolved(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the defaults with some parameters in their place.

        Sizes that are not given follow "eps": with the steps of a smaller one, attacks would not
        reach it.

        :raises ValueError: if there is no parameter of such a name, or one has a value that it
            cannot have.
        """
        self.check_parameters(parameters)
        return self._resolved(parameters)

    def create(self, estimator: Any, **parameters: Any) -> Any:
        """Return the ART attack on a classifier; its `generate(x, y)` takes true labels.

        :param estimator: an ART classifier with `clip_values`, defended or not; it stays as it is.
        :param parameters: as of the class, in place of `defaults`; "eps", "eps_step" and "theta"
            are shares of the range of the images, `clip_values`. So are all other sizes: the same
            pictures give the same adversarial ones in any range. With "minimal" set to True, an
            attack that has an ε looks for the smallest for each image, from "eps" on; see
            :class:`art_nip.attacks.minimum_norm.MinimumNorm`.
        :return: an `art.attacks.EvasionAttack` without progress bars. That of ART, which works in
            [0, 1], is its `attack` where it is none of this package.
        :raises TypeError: if the estimator is none of ART.
        :raises ValueError: if there is no parameter of such a name, one has a value that it cannot
            have, the attack is not made for such a classifier, or this has no `clip_values`.
        """
        check_classifier(estimator, f"The attack {self.name!r}")
        self._check_names(parameters)
        resolved = self._resolved(parameters)
        if estimator.clip_values is None:
            raise ValueError(
                "The estimator has no clip_values, and the sizes of attacks are shares of them: "
                "give it clip_values=(min, max), the range of the images."
            )
        with self._errors():
            return self._make(estimator, resolved)

    def _make(self, estimator: Any, parameters: Mapping[str, Any]) -> Any:
        from art_nip.attacks.minimum_norm import MinimumNorm
        from art_nip.estimators.single_precision import single_precision

        given = dict(parameters)
        if given.pop(MINIMAL, False):
            return MinimumNorm(single_precision(estimator), self, given)
        return self.made(estimator, given)

    def made(self, estimator: Any, parameters: Mapping[str, Any]) -> Any:
        """Return the ART attack with parameters that are checked already, and complete.

        :param estimator: as of `create`.
        :param parameters: in place of those of the class; sizes may be arrays where ART takes such.
        """
        # Imported here: with them comes ART, and with it PyTorch.
        from art_nip.attacks.base import UnitRangeAttack
        from art_nip.attacks.in_unit_range import InUnitRange
        from art_nip.estimators.single_precision import single_precision

        fixed = {name: value for name, value in FIXED.items() if name in self._signature()}
        kind, settings = self.kind, {**parameters, **fixed}
        if issubclass(kind, UnitRangeAttack):
            return kind(single_precision(estimator), **settings)
        return InUnitRange(estimator, kind, settings)

    def _resolved(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        given = plain(dict(parameters))
        with self._errors():
            self._check_values(given)
            if "norm" in given:
                given["norm"] = number_of(given["norm"])
            both = "eps" in given and "eps" in self.defaults
            ratio = given["eps"] / self.defaults["eps"] if both else 1
            resolved = {**scaled(self.defaults, ratio), **given}
            if is_length(resolved):
                # The ε of an attack within is that of L∞ still, and does not follow a length.
                within = {name: v for name, v in self.defaults.items() if isinstance(v, Mapping)}
                resolved = {**resolved, **within, **given}
            check_sizes(resolved)
            check_starts(resolved)
        return resolved

    def _check_names(self, parameters: Iterable[str]) -> None:
        known = set(self._signature())
        if "eps" in known:
            known.add(MINIMAL)
        elif MINIMAL in parameters:
            raise ValueError(
                f"The attack {self.name!r} has no ε, of which {MINIMAL!r} asks for the smallest: "
                f"leave it out. Attacks that have: {', '.join(_with_eps())}."
            )
        allowed = sorted(known - {"self", "estimator", "classifier", *FIXED})
        for name in parameters:
            if name not in allowed:
                raise ValueError(
                    f"The attack {self.name!r} has no parameter {name!r}. The nearest is "
                    f"{nearest_name(str(name).lower(), allowed)!r}; all: {', '.join(allowed)}."
                )

    def _check_values(self, parameters: Mapping[str, Any]) -> None:
        signature = self._signature()
        for name, value in parameters.items():
            if name == MINIMAL:
                check_flag(name, value)
            elif name not in SIZES:
                check_kind(name, value, self.defaults.get(name, signature[name].default))
        check_sizes({**parameters, "eps_step": 0} if "eps" not in parameters else parameters)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Have errors of what is called name the attack, those of ART too."""
        try:
            yield
        except (TypeError, ValueError) as error:
            unsuitable = isinstance(error, UnsuitableClassifierError)
            kind = UnsuitableClassifierError if unsuitable else ValueError
            raise kind(f"The attack {self.name!r}: {error}") from error

    @property
    def kind(self) -> Any:
        """The class of the attack, imported now."""
        module, _, name = self.path.rpartition(".")
        return getattr(import_module(module), name)

    def _signature(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.kind.__init__).parameters


def _with_eps() -> list[str]:
    return [attack.name for attack in _ATTACKS.values() if "eps" in attack.defaults]


@cache
def _small_classifier() -> Any:
    framework = installed_framework()
    if framework is None:
        raise ImportError("Attacks need PyTorch or TensorFlow: pip install 'art-nip[pytorch]'.")
    return code_of("art_nip.attacks", framework).small_classifier()


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
        NamedAttack("fgsm", f"{_ART}.FastGradientMethod", _EPS, paper=True),
        # Kurakin et al., "Adversarial examples in the physical world" (2017)
        NamedAttack("bim", f"{_ART}.BasicIterativeMethod", _STEPS, paper=True),
        # Dong et al., "Boosting adversarial attacks with momentum" (2018); ART's class of that name
        # is disabled on TensorFlow (its issue 2439), and this is what it was.
        NamedAttack(
            "mifgsm",
            f"{_ART}.projected_gradient_descent.projected_gradient_descent_numpy"
            ".ProjectedGradientDescentNumpy",
            {**_STEPS, "decay": 1.0},
            paper=True,
        ),
        NamedAttack(
            "jsma",
            f"{_OURS}.jsma.SaliencyMapMethod",
            {"theta": 0.3, "gamma": 0.1, "batch_size": 4},
            limit=200,
            paper=True,
        ),
        # Madry et al., "Towards deep learning models resistant to adversarial attacks" (2018)
        NamedAttack(
            "pgd", f"{_ART}.ProjectedGradientDescent", {**_STEPS, "num_random_init": 1}, paper=True
        ),
        NamedAttack(
            "deepfool",
            f"{_OURS}.deepfool.DeepFool",
            {"max_iter": 50, "epsilon": 0.02, "nb_grads": 10, "batch_size": 128},
            limit=200,
            paper=True,
        ),
        NamedAttack(
            "uap",
            f"{_OURS}.universal_perturbation.UniversalPerturbation",
            {
                "attacker": "fgsm",
                "attacker_params": {"eps": 0.1},
                "eps": 0.4,
                "max_iter": 5,
                "delta": 0.01,
                "batch_size": 128,
            },
            per_image=False,
            paper=True,
        ),
        NamedAttack(
            "auna",
            f"{_OURS}.auna.AdditiveUniformNoise",
            {"steps": 10, "search_steps": 0, "repeats": 1, "batch_size": 128},
            paper=True,
        ),
        NamedAttack(
            "pwa",
            f"{_OURS}.pwa.PointwiseAttack",
            {"init_steps": 10, "search_steps": 0, "max_iter": 1, "batch_size": 128},
            limit=200,
            paper=True,
        ),
        NamedAttack(
            "pixel", f"{_OURS}.pixel.PixelAttack", {"th": 300, "max_iter": 5}, limit=50, paper=True
        ),
        NamedAttack(
            "boundary",
            f"{_OURS}.boundary.BoundaryAttack",
            {"max_iter": 200, "sample_size": 10, "delta": 0.1, "epsilon": 0.1, "batch_size": 128},
            limit=50,
            paper=True,
        ),
        NamedAttack(
            # Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of
            # diverse parameter-free attacks" (2020), their own code: for PyTorch
            "autoattack",
            f"{_OURS}.foreign.autoattack.AutoAttack",
            {**_EPS, "version": "auto", "straight_through": True},
            limit=50,
        ),
        NamedAttack(
            "autoattack-art",
            f"{_OURS}.autoattack.ARTAutoAttack",
            # Its authors' first step is 2 ε, and they start once.
            {**_EPS, "eps_step": 16 / 255, "nb_restarts": 1},
            limit=50,
        ),
        # Andriushchenko et al., "Square attack: a query-efficient black-box attack" (2020)
        NamedAttack("square", f"{_OURS}.square.SquareAttack", {**_EPS, "max_iter": 500}, limit=50),
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
            f"{_OURS}.hopskipjump.HopSkipJump",
            {"max_iter": 10, "max_eval": 1000, "batch_size": 128},
            limit=50,
        ),
        # What follows is made to go through defences: see `art_nip.benchmark.plan.suite`.
        NamedAttack("eot", f"{_OURS}.pgd.ProjectedGradientDescent", _THROUGH),
        NamedAttack(
            "bpda",
            f"{_OURS}.pgd.ProjectedGradientDescent",
            {**_THROUGH, "straight": True},
        ),
        NamedAttack(
            "apgd",
            f"{_OURS}.apgd.AutoProjectedGradientDescent",
            {
                **_EPS,
                "eps_step": 16 / 255,
                "max_iter": 50,
                "nb_random_init": 1,
                "loss_type": "cross_entropy",
            },
        ),
        NamedAttack("noise", f"{_OURS}.random_noise.RandomNoise", {**_EPS, "draws": 50}),
        # For defences that offer surrogate losses, and no others.
        NamedAttack(
            "steering",
            f"{_OURS}.steering.SteeringAttack",
            {**_EPS, "eps_step": 4 / 255, "max_iter": 60},
        ),
    )
}

NAMES: tuple[str, ...] = tuple(_ATTACKS)
"""All names that there are."""

PAPER: tuple[str, ...] = tuple(attack.name for attack in _ATTACKS.values() if attack.paper)
"""The paper's eleven, in the order of its table II."""


def get(name: str) -> NamedAttack:
    """Return an attack by its name.

    :raises ValueError: if there is none of that name; the message has the nearest, and all.
    """
    if not isinstance(name, str) or name not in _ATTACKS:
        nearest = nearest_name(str(name).lower(), NAMES)
        raise ValueError(
            f"There is no attack {name!r}. The nearest is {nearest!r}; all: {', '.join(NAMES)}."
        )
    return _ATTACKS[name]
