"""Evidence of views: what the model itself says of the image once it went through preprocessors."""

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from art.defences import preprocessor as art_preprocessors

from art_nip.checks import check_choice, clip_range
from art_nip.estimators.base import EstimatorAdapter
from art_nip.namespace import Array
from art_nip.retrieval.evidence.base import Evidence, EvidenceReader, log_mean, softmax

FOLLOWED = ("channels_first", "clip_values")
"""Parameters that preprocessors take from the model."""


@dataclass(frozen=True)
class ViewEvidence(Evidence):
    """Consensus of the model over views of the image: mean softmax behind ART's preprocessors.

    It learns nothing and needs no early layer that tells the class, so it suits natural pictures.
    Every view costs a forward pass, and ART's NumPy preprocessors work on the host. The head that
    the attack went through decides after all, if on other images: an attack that outlasts each
    preprocessor outlasts this.

    :param defences: the views: names and parameters of ART's preprocessors, such as
        `{"name": "SpatialSmoothing", "window_size": 3}`. What `channels_first` and `clip_values`
        are follows the model. With one that draws random numbers, defended images are random.
    """

    name: ClassVar[str] = "views"
    defences: tuple[Mapping[str, Any], ...] = (
        {"name": "SpatialSmoothing", "window_size": 2},
        {"name": "JpegCompression", "quality": 75},
    )

    def __post_init__(self) -> None:
        given = self.defences
        entries = isinstance(given, (list, tuple)) and all(isinstance(e, Mapping) for e in given)
        if not entries or not given:
            raise TypeError(
                f"defences={given!r}; give a sequence of mappings with the name and the parameters "
                'of an ART preprocessor, such as [{"name": "SpatialSmoothing", "window_size": 3}].'
            )
        object.__setattr__(self, "defences", tuple(map(dict, given)))
        for entry in self.defences:
            _check(entry)

    def settled(self, adapter: EstimatorAdapter) -> "ViewEvidence":
        """Return this evidence as it is; see the base class.

        :raises ValueError: if a preprocessor refuses a parameter.
        """
        _preprocessors(self.defences, adapter, (0.0, 1.0))
        return self

    def reader(
        self,
        adapter: EstimatorAdapter,
        learned: dict[str, npt.NDArray[Any]],
        clip_values: tuple[Any, Any],
    ) -> EvidenceReader:
        """Return the evidence at work; see the base class."""
        return _ViewReader(adapter, self.defences, clip_values)


class _ViewReader(EvidenceReader):
    def __init__(
        self,
        adapter: EstimatorAdapter,
        defences: tuple[Mapping[str, Any], ...],
        clip_values: tuple[Any, Any],
    ) -> None:
        super().__init__()
        self._adapter = adapter
        self._low, self._high = (np.asarray(bound, np.float32) for bound in clip_values)
        self._preprocessors = _preprocessors(defences, adapter, clip_range(clip_values))

    def log_posterior(self, x: Array, maps: list[Array]) -> Array:
        return log_mean([self._posterior(view) for view in self._views(x)])

    def _views(self, x: Array) -> Iterator[Array]:
        # Attacks may leave the range, which some preprocessors refuse.
        images = np.clip(self._adapter.numpy(x), self._low, self._high)
        for preprocessor in self._preprocessors:
            yield self._adapter.tensor(preprocessor(images.copy())[0])

    def gradient(
        self, adapter: EstimatorAdapter, x: Array, classes: npt.NDArray[np.int64]
    ) -> Array:
        """Return the sum over views of the way of each class's lead there; see the base class.

        The preprocessors count as the identity on the way back (BPDA, Athalye et al. 2018).
        """
        return sum(adapter.lead_gradient(view, classes) for view in self._views(x))

    def _posterior(self, view: Array) -> Array:
        logits, _ = self._adapter.logits_and_activations(view, ())
        return softmax(logits)


def _check(entry: Mapping[str, Any]) -> None:
    known = [each for each in vars(art_preprocessors) if each[0].isupper()]
    check_choice("ART preprocessor", entry.get("name", ""), known)
    kind = getattr(art_preprocessors, entry["name"])
    allowed = [each for each in kind.params if each not in FOLLOWED]
    for parameter in set(entry) - {"name"}:
        check_choice(f"parameter of {entry['name']}", parameter, allowed)


def _preprocessors(
    defences: tuple[Mapping[str, Any], ...],
    adapter: EstimatorAdapter,
    clip_values: tuple[float, float],
) -> list[Any]:
    made = []
    for entry in defences:
        kind = getattr(art_preprocessors, entry["name"])
        told = {"channels_first": adapter.channels_first, "clip_values": clip_values}
        takes = inspect.signature(kind).parameters
        parameters = {name: value for name, value in entry.items() if name != "name"}
        made.append(kind(**{each: told[each] for each in FOLLOWED if each in takes}, **parameters))
    return made
