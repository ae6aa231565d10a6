"""The defences by name, with the paper's parameters (section IV-A).

`none`, the classifier as it is, is in every benchmark and needs no naming. A new defence is a file
of its own and a line here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from art.defences.preprocessor.preprocessor import Preprocessor

from art_nip.defences.anti_adversary import AntiAdversary
from art_nip.defences.base import check_classifier
from art_nip.defences.feature_distillation import FeatureDistillation
from art_nip.defences.feature_squeezing import FeatureSqueezing
from art_nip.defences.importance_masking import ImportanceMasking
from art_nip.defences.jpeg_compression import JpegCompression
from art_nip.defences.sparse_transformation import SparseTransformation
from art_nip.defences.spatial_smoothing import SpatialSmoothing
from art_nip.defences.super_resolution import SuperResolution
from art_nip.defences.total_var_min import TotalVarMin
from art_nip.defences.total_variance import TotalVarianceMinimization
from art_nip.nip.parameters import Parameters
from art_nip.nip.preprocessor import NIPPreprocessor
from art_nip.utils.validation import check_choice

FOLLOWED = ("channels_first", "clip_values", "verbose")
"""Parameters that follow the classifier, or say what to do outside a benchmark."""


@dataclass(frozen=True)
class NamedDefence:
    """A defence that has a name.

    :param name: in tables, spec files and Python.
    :param family: its main class, an ART preprocessor, or an ART transformer where it changes the
        classifier.
    :param defaults: parameters that differ from those of the class.
    """

    name: str
    family: Any
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def learns(self) -> bool:
        """Whether it is to be fitted on benign images; ART's own `fit` is empty."""
        return self.family.fit is not Preprocessor.fit

    def create(self, classifier: Any, **parameters: Any) -> Any:
        """Return the defence, not fitted: an ART preprocessor, or an ART transformer.

        :param classifier: the ART classifier that it is to defend.
        :param parameters: of the class; those given replace `defaults`. Sizes are shares of the
            range of the images.
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
        return [name for name in self.family.params if name not in FOLLOWED]

    def _check_values(self, parameters: Mapping[str, Any]) -> None:
        self.family.check_parameters(**parameters)

    def _quiet(self) -> dict[str, Any]:
        return {"verbose": False} if "verbose" in self.family.params else {}


class _NIP(NamedDefence):
    """NIP, of which a benchmark may choose every parameter."""

    def _known(self) -> list[str]:
        return Parameters.names()

    def _check_values(self, parameters: Mapping[str, Any]) -> None:
        Parameters(**{"clip_values": (0.0, 1.0), **parameters})


DEFENCES = {
    named.name: named
    for named in (
        NamedDefence("ss", SpatialSmoothing, {"window_size": 2}),
        # The paper does not say; Xu et al. 2018 take 5 for colour images. ART's 8 does nothing.
        NamedDefence("cbdr", FeatureSqueezing, {"bit_depth": 5}),
        NamedDefence("jpeg", JpegCompression, {"quality": 80}),
        NamedDefence("tvm", TotalVarianceMinimization, {"prob": 0.5, "lamb": 0.1}),
        NamedDefence("tvm-art", TotalVarMin, {"prob": 0.5, "lamb": 0.1}),
        NamedDefence("fdistill", FeatureDistillation),
        NamedDefence("sr", SuperResolution),
        # The paper does not say; these are of the authors' example for images of 32×32.
        NamedDefence(
            "stl", SparseTransformation, {"lmbda": 0.2, "n_filters": 64, "filter_size": 8}
        ),
        NamedDefence("anti-adversary", AntiAdversary),
        NamedDefence("importance-masking", ImportanceMasking),
        _NIP("nip", NIPPreprocessor),
    )
}
NAMES = tuple(DEFENCES)


def get(name: str) -> NamedDefence:
    """Return the defence of a name.

    :raises ValueError: if there is none; the message names the nearest.
    """
    check_choice("defence", name, NAMES)
    return DEFENCES[name]
