"""The choices that the paper leaves open, each a parameter; checked once, here."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from numbers import Real
from typing import Any, Literal

import numpy as np

from art_nip.nip.bank import DTYPES
from art_nip.nip.retrieval import Retrieval, Similarity, chosen
from art_nip.utils.validation import check_whole, nearest_name

CHOICES = {
    "confidence": ("probability", "logit"),
    "template": ("mean", "quorum"),
    "bank_dtype": DTYPES,
}


@dataclass(frozen=True)
class Parameters:
    """What a NIPPreprocessor can be told.

    :param layer: the layer whose outputs are the neurons: "auto" for the one between the
        convolutional and the dense part, or a dotted name such as "features.28"; with ":input"
        behind it for what goes into that layer.
    :param k1: how many front neurons ρ strengthens [4].
    :param k2: how many tail neurons, the lowest-ranked, ρ weakens [4].
    :param fractions: shares of front, middle and tail neurons (definition 2).
    :param confidence: y_c of [1]: "probability" (softmax) or "logit" of the predicted class.
    :param template: T of [2]: "mean" of middle influence over the benign images, or this only on
        the neurons that are middle in a "quorum" of the images.
    :param quorum: that share, above 0, at most 1; 1 is the paper's intersection.
    :param retrieval: how an image finds its inverse perturbation: "similarity", the paper's,
        "nearest" or "class"; or an object of :mod:`art_nip.nip.retrieval`, whose docstrings say
        what each is for.
    :param strength: factor on the perturbation added in [7]; the paper's is 1.
    :param clip_values: range (min, max) of the images, numbers or arrays that broadcast to an
        image.
    :param batch_size: how many images the model sees at once.
    :param bank_dtype: how candidates are stored: "float32", "float16" or "uint8".
    :param verbose: whether fitting shows a progress bar.
    """

    clip_values: Any
    layer: str = "auto"
    k1: int = 5
    k2: int = 5
    fractions: tuple[float, float, float] = (0.1, 0.3, 0.6)
    confidence: Literal["probability", "logit"] = "probability"
    template: Literal["mean", "quorum"] = "mean"
    quorum: float = 0.5
    retrieval: Retrieval = field(default_factory=Similarity)
    strength: float = 1.0
    batch_size: int = 128
    bank_dtype: Literal["float32", "float16", "uint8"] = "float32"
    verbose: bool = True

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"{name}={value!r}; allowed are {', '.join(map(repr, allowed))}.")
        if not isinstance(self.layer, str):
            raise TypeError(f"layer={self.layer!r}; give a layer's name, or 'auto'.")
        for name, least in (("k1", 0), ("k2", 0), ("batch_size", 1)):
            check_whole(name, getattr(self, name), least)
        if self.k1 == self.k2 == 0:
            raise ValueError(
                "k1 and k2 are both 0: the perturbation would be zero. Set one of them."
            )
        if not isinstance(self.strength, Real) or not math.isfinite(self.strength):
            raise ValueError(
                f"strength={self.strength!r}; give a finite number, 1 for the paper's."
            )
        if not isinstance(self.quorum, Real) or not 0 < self.quorum <= 1:
            raise ValueError(f"quorum={self.quorum!r}; give a share above 0 and at most 1.")
        object.__setattr__(self, "retrieval", chosen(self.retrieval))
        self._check_fractions()
        self._check_clip_values()

    def _check_fractions(self) -> None:
        fractions = tuple(self.fractions)
        if len(fractions) != 3 or not all(share > 0 for share in fractions):
            raise ValueError(
                f"fractions={self.fractions!r}; give three positive shares: front, middle, tail."
            )
        if not math.isclose(sum(fractions), 1, abs_tol=1e-6):
            raise ValueError(f"fractions={self.fractions!r} sum to {sum(fractions):g}, not to 1.")
        object.__setattr__(self, "fractions", fractions)

    def _check_clip_values(self) -> None:
        given = self.clip_values
        if given is None:
            raise ValueError(
                "The estimator has no clip_values, and equation 7 needs them: give "
                "clip_values=(min, max), the range of the images."
            )
        if len(given) != 2 or not np.all(np.asarray(given[0]) < np.asarray(given[1])):
            raise ValueError(f"clip_values={given!r}; give (min, max) with min below max.")
        low, high = (np.asarray(bound, np.float32) for bound in given)
        object.__setattr__(self, "clip_values", (low.tolist(), high.tolist()))

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all parameters."""
        return [each.name for each in fields(cls)]

    def changed(self, changes: Mapping[str, Any]) -> "Parameters":
        """Return these parameters with some changed.

        :raises ValueError: if there is no parameter of such a name; the message names the nearest.
        """
        check_names(changes)
        return replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Return all parameters by name, as JSON can hold them.

        :raises ValueError: if JSON cannot hold the retrieval.
        """
        return {**vars(self), "retrieval": self.retrieval.as_dict()}


def check_names(given: Mapping[str, Any]) -> None:
    """Raise a ValueError if a name is not that of a parameter; the message names the nearest."""
    for name in given:
        if name not in Parameters.names():
            near = nearest_name(name, Parameters.names())
            raise ValueError(
                f"NIPPreprocessor has no parameter {name!r}. The nearest is {near!r}; all: "
                f"{', '.join(Parameters.names())}."
            )
