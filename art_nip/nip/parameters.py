"""The parameters of NIP, choices that the paper leaves open. They are checked here, once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypedDict

import numpy as np

from art_nip.estimators.base import PRECISIONS, EstimatorAdapter
from art_nip.nip.bank import DTYPES
from art_nip.nip.neurons import part_ends
from art_nip.nip.retrieval import Context, Retrieval, Similarity, chosen
from art_nip.utils.ranges import check_range_of
from art_nip.utils.validation import (
    check_choice,
    check_flag,
    check_positive,
    check_whole,
    is_number,
    nearest_name,
    plain,
)

CHOICES = {
    "confidence": ("probability", "logit"),
    "template": ("mean", "quorum"),
    "bank_dtype": DTYPES,
    "look": PRECISIONS,
}

CHANGEABLE_AFTER_FIT = {"strength", "batch_size", "look", "verbose"}
"""Parameters that can change without fitting anew.

`clip_values` are not among them: ρ̂ is in units of the range, and views are made in it.
"""


class ParameterKeywords(TypedDict, total=False):
    """The parameters of `Parameters` as keywords, for a type checker and an editor."""

    clip_values: Any
    layer: str
    k1: int
    k2: int
    fractions: Sequence[float]
    confidence: Literal["probability", "logit"]
    template: Literal["mean", "quorum"]
    quorum: float
    retrieval: Retrieval | str | Mapping[str, Any]
    strength: float
    batch_size: int
    bank_dtype: Literal["float32", "float16", "uint8"]
    look: Literal["float32", "bfloat16", "float16"]
    verbose: bool


@dataclass(frozen=True)
class Parameters:
    """The parameters of a NIPPreprocessor.

    :param layer: the layer whose outputs are the neurons: "auto" for the one between the
        convolutional and the dense part, or a dotted name such as "features.28"; with ":input"
        behind it for the input of that layer.
    :param k1: how many front neurons ρ strengthens [4].
    :param k2: how many tail neurons, the lowest-ranked, ρ weakens [4].
    :param fractions: shares of front, middle and tail neurons (definition 2).
    :param confidence: y_c of [1]: "probability" (softmax) or "logit" of the predicted class.
    :param template: T of [2]: "mean" of middle influence over the benign images, or this
        mean only on the neurons that are middle in a "quorum" of the images.
    :param quorum: the share of images that makes a quorum, above 0, at most 1; 1 is the paper's
        intersection.
    :param retrieval: how an image finds its inverse perturbation: "similarity", the paper's,
        "nearest", "class" or "mixed"; or an object of :mod:`art_nip.nip.retrieval`, whose
        docstrings say what each retrieval is for.
    :param strength: factor on the perturbation added in [7]; the paper's is 1.
    :param clip_values: range (min, max) of the images, numbers or arrays that broadcast to an
        image.
    :param batch_size: number of images that the model sees at once.
    :param bank_dtype: how candidates are stored: "float32", "float16" or "uint8".
    :param look: precision of the pass in which the model is looked at to find an image's ρ̂:
        "float32", or in PyTorch "bfloat16" or "float16", in which a GPU is faster. Fitting, the
        steps of "class" and the final classification stay exact. What it does to the retrievals is
        in docs/results/look.md.
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
    look: Literal["float32", "bfloat16", "float16"] = "float32"
    verbose: bool = True

    def __post_init__(self) -> None:
        for name in self.names():
            # Parameters are saved as JSON, which has no scalars of NumPy.
            object.__setattr__(self, name, plain(getattr(self, name)))
        for name, allowed in CHOICES.items():
            check_choice(name, getattr(self, name), allowed)
        if not isinstance(self.layer, str):
            raise TypeError(f"layer={self.layer!r}; give a layer's name, or 'auto'.")
        for name, least in (("k1", 0), ("k2", 0), ("batch_size", 1)):
            check_whole(name, getattr(self, name), least)
        if self.k1 == self.k2 == 0:
            raise ValueError(
                "k1 and k2 are both 0: the perturbation would be zero. Set one of them."
            )
        if not is_number(self.strength):
            raise ValueError(
                f"strength={self.strength!r}; give a finite number, 1 for the paper's."
            )
        check_positive("quorum", self.quorum, most=1)
        check_flag("verbose", self.verbose)
        object.__setattr__(self, "retrieval", chosen(self.retrieval))
        object.__setattr__(self, "fractions", _checked_fractions(self.fractions))
        object.__setattr__(self, "clip_values", _checked_clip_values(self.clip_values))

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all parameters."""
        return [field.name for field in fields(cls)]

    def changed(self, changes: Mapping[str, Any]) -> "Parameters":
        """Return these parameters with some changed.

        :raises ValueError: if there is no parameter of such a name; the message names the nearest.
        """
        check_names(changes)
        return replace(self, **changes)

    def fits_as(self, other: "Parameters") -> bool:
        """Return whether a fit with others is one with these too, of the same images."""
        changed = {name for name in self.names() if getattr(self, name) != getattr(other, name)}
        if self.retrieval.learns_as(other.retrieval):
            changed -= {"retrieval"}
        return changed <= CHANGEABLE_AFTER_FIT

    def as_keywords(self) -> dict[str, Any]:
        """Return all parameters by name, as `Parameters` takes them."""
        return dict(vars(self))

    def as_dict(self) -> dict[str, Any]:
        """Return all parameters by name, as JSON can hold them.

        :raises ValueError: if JSON cannot hold the retrieval.
        """
        return {**vars(self), "retrieval": self.retrieval.as_dict()}


def check_names(given: Mapping[str, Any]) -> None:
    """Raise a ValueError if a parameter is unknown; the message suggests the nearest name."""
    for name in given:
        if name not in Parameters.names():
            near = nearest_name(name, Parameters.names())
            raise ValueError(
                f"NIPPreprocessor has no parameter {name!r}. The nearest is {near!r}; all: "
                f"{', '.join(Parameters.names())}."
            )


def _checked_fractions(given: Any) -> tuple[float, float, float]:
    shares = tuple(given) if isinstance(given, (tuple, list, np.ndarray)) else ()
    shares = tuple(map(plain, shares))
    if len(shares) != 3 or not all(is_number(share) and share > 0 for share in shares):
        raise ValueError(f"fractions={given!r}; give three positive shares: front, middle, tail.")
    if not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ValueError(f"fractions={given!r} sum to {sum(shares):g}, not to 1.")
    return shares


def _checked_clip_values(given: Any) -> tuple[Any, Any]:
    """Return the range as JSON can hold it: numbers or nested lists."""
    if given is None:
        raise ValueError(
            "The estimator has no clip_values, and equation 7 needs them: give "
            "clip_values=(min, max), the range of the images."
        )
    try:
        low, high = (np.asarray(bound, np.float32) for bound in given)
        below = bool(np.all(low < high))
    except (TypeError, ValueError):
        below = False
    if not below or isinstance(given, str):
        raise ValueError(
            f"clip_values={given!r}; give (min, max) with min below max: numbers, or arrays that "
            "broadcast to an image."
        )
    return low.tolist(), high.tolist()


def settled(parameters: Parameters, adapter: EstimatorAdapter) -> Parameters:
    """Return parameters that suit a model, with the retrieval's choices for it filled in.

    :param parameters: as a user gave them.
    :param adapter: the model.
    :raises ValueError: if the parameters do not suit the model.
    """
    check_part_sizes(adapter.n_neurons, parameters.k1, parameters.k2, parameters.fractions)
    check_range_of(parameters.clip_values, adapter.input_shape)
    adapter.in_precision(parameters.look)
    context = Context(adapter, parameters.clip_values, parameters.fractions)
    return replace(parameters, retrieval=parameters.retrieval.settled(context))


def check_part_sizes(n_neurons: int, k1: int, k2: int, fractions: tuple[float, ...]) -> None:
    """Raise a ValueError if ρ is to strengthen or weaken more neurons than a part has.

    :param n_neurons: how many neurons the layer has.
    :param k1: how many front neurons ρ strengthens.
    :param k2: how many tail neurons ρ weakens.
    :param fractions: shares of front, middle and tail.
    """
    front_end, middle_end = part_ends(n_neurons, fractions)
    for name, k, size, part in (
        ("k1", k1, front_end, "front"),
        ("k2", k2, n_neurons - middle_end, "tail"),
    ):
        if k > size:
            raise ValueError(
                f"{name}={k}, but the {part} part has only {size} of the layer's {n_neurons} "
                f"neurons. Set {name} to at most {size}, or choose a wider layer."
            )
