"""The defences by name, with the paper's parameters (section IV-A).

`none`, the classifier as it is, is in every benchmark and needs no naming. A new defence is a file
of its own and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from art_nip.utils.validation import check_choice, check_classifier

SUFFIXES = ("", "PyTorch", "TensorFlowV2")
"""Suffixes of the names of a defence's classes, as ART has them."""

NOT_CHOSEN_BY_USERS = ("channels_first", "clip_values", "verbose")
"""Parameters that follow from the classifier, or matter outside a benchmark only."""


@dataclass(frozen=True)
class NamedDefence:
    """A defence that has a name.

    :param name: its name in tables, spec files and Python.
    :param path: dotted path of its main class, which is imported on first use.
    :param defaults: parameters that differ from those of the class.
    """

    name: str
    path: str
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> Any:
        """The main class: an ART preprocessor, or a transformer if it changes the classifier."""
        module, _, name = self.path.rpartition(".")
        return getattr(import_module(module), name)

    @property
    def learns(self) -> bool:
        """Whether the defence is fitted on benign images; ART's own `fit` is empty."""
        from art.defences.preprocessor.preprocessor import Preprocessor

        return self.family.fit is not Preprocessor.fit

    def create(self, classifier: Any, **parameters: Any) -> Any:
        """Return the defence, not fitted: an ART preprocessor, or an ART transformer.

        :param classifier: the ART classifier to defend.
        :param parameters: parameters of the class; those given replace `defaults`. Sizes are shares
            of the range of the images.
        :raises ValueError: if a parameter is not known or not allowed.
        :raises TypeError: if it is no ART classifier, or none that this defence can defend.
        """
        check_classifier(classifier, f"The defence {self.name!r}")
        self.check_parameters(parameters)
        make = getattr(self.family, "for_estimator", self.family)
        return make(classifier, **{**self._quiet(), **self.defaults, **parameters})

    def check_parameters(self, parameters: Mapping[str, Any]) -> None:
        """Raise a ValueError if a parameter is not known (it names the nearest), or not allowed."""
        for name in parameters:
            check_choice(f"parameter of the defence {self.name!r}", name, self._known())
        self._check_values({**self.defaults, **parameters})

    def _known(self) -> list[str]:
        return [name for name in self.family.params if name not in NOT_CHOSEN_BY_USERS]

    def _check_values(self, parameters: Mapping[str, Any]) -> None:
        self.family.check_parameters(**parameters)

    def _quiet(self) -> dict[str, Any]:
        return {"verbose": False} if "verbose" in self.family.params else {}


class _NIP(NamedDefence):
    """NIP; a benchmark may choose all its parameters."""

    def _known(self) -> list[str]:
        return list(self.family.params)

    def _check_values(self, parameters: Mapping[str, Any]) -> None:
        from art_nip.nip.parameters import Parameters

        Parameters(**{"clip_values": (0.0, 1.0), **parameters})


_HERE = "art_nip.defences"

DEFENCES = {
    named.name: named
    for named in (
        NamedDefence("ss", f"{_HERE}.spatial_smoothing.SpatialSmoothing", {"window_size": 2}),
        # The paper does not say; Xu et al. 2018 take 5 for colour images. ART's 8 does nothing.
        NamedDefence("cbdr", f"{_HERE}.feature_squeezing.FeatureSqueezing", {"bit_depth": 5}),
        NamedDefence("jpeg", f"{_HERE}.jpeg_compression.JpegCompression", {"quality": 80}),
        NamedDefence(
            "tvm",
            f"{_HERE}.total_variance.TotalVarianceMinimization",
            {"prob": 0.5, "lamb": 0.1},
        ),
        NamedDefence("tvm-art", f"{_HERE}.total_var_min.TotalVarMin", {"prob": 0.5, "lamb": 0.1}),
        NamedDefence("fdistill", f"{_HERE}.feature_distillation.FeatureDistillation"),
        NamedDefence("sr", f"{_HERE}.super_resolution.SuperResolution"),
        NamedDefence(
            "stl",
            f"{_HERE}.sparse_transformation.SparseTransformation",
            # The paper does not say; these are of the authors' example for images of 32×32.
            {"lmbda": 0.2, "n_filters": 64, "filter_size": 8},
        ),
        NamedDefence("anti-adversary", f"{_HERE}.anti_adversary.AntiAdversary"),
        NamedDefence("importance-masking", f"{_HERE}.importance_masking.ImportanceMasking"),
        _NIP("nip", "art_nip.nip.preprocessor.NIPPreprocessor"),
    )
}
NAMES = tuple(DEFENCES)


def get(name: str) -> NamedDefence:
    """Return the defence of a name.

    :raises ValueError: if there is none; the message names the nearest.
    """
    check_choice("defence", name, NAMES)
    return DEFENCES[name]


def home_of(class_name: str, package: str) -> str | None:
    """Return the module of a package that has a class of a named defence, or None.

    :param class_name: name of the main class, or of the class for PyTorch or TensorFlow.
    :param package: dotted name of the package.
    """
    for named in DEFENCES.values():
        module, _, family = named.path.rpartition(".")
        if module.startswith(package) and class_name in [family + end for end in SUFFIXES]:
            return module
    return None
